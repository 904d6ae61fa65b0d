"""Lists of images in place of an official folder, in the forms that the papers' programs read.

    lists/train.mat  lists/test.mat      what the releases have and `prepare --mat` writes: paths, boxes, tracklets
    lists/train.txt  lists/test.txt      path,label or path label, as research-ms-loss and Deep_Metric write them
    birds.csv                            path,label,split and any of camera, track, x,y,width,height

Paths are relative to the list's folder, or to another image root that the user names, and may not leave it. Instead of a
test list there may be query and gallery, with multi_query beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from caffe_compat.matlab.lists import load_splits
from ports.datasets import custom
from ports.datasets.split import DatasetError, Split

PARTS = ("train", "test", "query", "gallery", "multi_query")
FORMS = "a .mat list, a folder with train.txt and test.txt, or a .csv with path,label,split"


def found(path: Path) -> list[Path]:
    """The lists that `path` names or, as a folder, holds directly; none where it is no list and holds none.

    Raises DatasetError where a folder holds lists of more than one form, or several tables.
    """
    if not path.is_dir():
        return _beside(path) if path.suffix.lower() in (".mat", ".csv") and path.is_file() else []
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    by_form = {
        ".mat": [file for file in files if file.suffix.lower() == ".mat"],
        ".txt": [file for file in files if file.name in {f"{part}.txt" for part in PARTS}],
        ".csv": [file for file in files if file.suffix.lower() == ".csv"],
    }
    there = [form for form, lists in by_form.items() if lists]
    if len(there) > 1:
        names = ", ".join(by_form[form][0].name for form in there)
        raise DatasetError(f"{path}: lists of several forms lie there ({names}): name one of them, or keep one form")
    lists = by_form[there[0]] if there else []
    if there == [".csv"] and len(lists) > 1:
        raise DatasetError(f"{path}: {lists[0].name} and {lists[1].name} lie there: name the table that is meant")
    return lists


def _beside(file: Path) -> list[Path]:
    """With train.mat also test.mat and so on, as `prepare --mat` writes them; any other file stands alone."""
    if file.name in {f"{part}.mat" for part in PARTS}:
        return [other for part in PARTS if (other := file.with_name(f"{part}.mat")).is_file()]
    return [file]


def read(path: Path, image_root: Path | None = None) -> dict[str, Split]:
    """The splits that the lists in `path` hold, by part; every image is there.

    Raises DatasetError or CaffeFormatError, with file and line or row: no list, a damaged one, two of the same part, an image
    that is missing or lies outside of the root, a label out of range.
    """
    lists = found(path)
    if not lists:
        raise DatasetError(f"{path}: {_is_none(path)}; lists are {FORMS}")
    if image_root is not None and not image_root.is_dir():
        raise DatasetError(f"--image-root {image_root}: no such folder")
    form: Callable[[Path, Path], dict[str, Split]] = {".mat": _mat, ".txt": _txt, ".csv": _csv}[lists[0].suffix.lower()]
    splits: dict[str, Split] = {}
    source: dict[str, Path] = {}
    for file in lists:
        root = (image_root or file.parent).resolve()
        for part, split in form(file, root).items():
            if part in splits:
                raise DatasetError(f"{file}: a second {part} list; {source[part].name} has one already")
            splits[part], source[part] = split, file
    return splits


def _is_none(path: Path) -> str:
    if path.is_dir():
        return "no list lies there"
    if path.suffix.lower() == ".txt" and path.is_file():
        return "one .txt is not the whole data: name the folder that holds it"
    return "not a list that is known here" if path.exists() else "no such file or folder"


def _txt(file: Path, root: Path) -> dict[str, Split]:
    return {file.stem: custom.read_list(file, root=root, check_files=True, all_classes=file.stem == "train")}


def _csv(file: Path, root: Path) -> dict[str, Split]:
    return custom.read_csv(file, root=root, parts=PARTS, check_files=True)


def _mat(file: Path, root: Path) -> dict[str, Split]:
    """A file called as a part is that part, whatever its variable is called; In-shop's evaluation list is query and gallery."""
    splits = load_splits(file, image_root=root)
    _check_labels(splits, file)
    if len(splits) == 1 and file.stem in PARTS:
        return {file.stem: next(iter(splits.values()))}
    if "query" in splits and "gallery" not in splits and "test" in splits:
        splits["gallery"] = splits.pop("test")  # MARS: query_IDX counts the gallery's tracklets
    if "eval" in splits:
        rest = splits.pop("eval")
        if "gallery" not in splits:
            splits["test"] = rest
    if "all" in splits:
        raise DatasetError(
            f"{file}: neither file nor list is named as one of {', '.join(PARTS)}, so that its part is not known"
        )
    return splits


def _check_labels(splits: dict[str, Split], file: Path) -> None:
    """Classes count from 0; -1 is junk, which only a re-identification gallery has."""
    for part, split in splits.items():
        least = 0 if part in ("train", "query") or split.cameras is None else -1
        low = np.flatnonzero(split.labels < least)
        if low.size:
            raise DatasetError(f"{file}: {part}, item {low[0] + 1}: label {split.labels[low[0]]} is below {least}")
