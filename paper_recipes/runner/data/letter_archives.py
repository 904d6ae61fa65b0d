"""Embedded letters packed as the hosts pack three data sets: the way from archive to report, to be tried without a download.

A hundred letters to train on and forty to test on, in the official files and layout of Stanford Online Products, CUB
or In-shop. A marker file travels inside. What is prepared from such an archive is checked against the marker's counts
instead of the published ones, and a run on it has nothing published to compare with.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from paper_recipes.runner.data.letters import with_boxes
from paper_recipes.runner.files import write_atomically
from ports.datasets import archives, cub, glyphs, sop
from ports.datasets.inshop import LIST
from ports.datasets.split import DatasetError, Split

MARKER = "embedded_letters.json"
CLASSES = {"train": cub.TRAIN_CLASSES, "test": 40}  # CUB's first hundred classes train, whatever comes after them
Files = dict[str, bytes]  # path inside the archive -> content


def marker_of(root: Path) -> Path | None:
    """The marker in `root` or in a folder directly below it; None: not made of letters."""
    return next(iter([*root.glob(MARKER), *root.glob(f"*/{MARKER}")]), None)


def check_counts(dataset: str, root: Path, splits: dict[str, Split]) -> None:
    """Raise DatasetError if `splits` are not what the marker under `root` says."""
    marker = marker_of(root)
    assert marker is not None
    try:
        known = json.loads(marker.read_text(encoding="utf-8"))["splits"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{marker}: not written by prepare --embedded ({error!r})") from None
    found = {part: [len(split), split.num_classes] for part, split in splits.items()}
    if found != known:
        raise DatasetError(f"{root}: {dataset} of embedded letters with images and classes {found} instead of {known}")


def make(dataset: str, folder: Path, letters: Path) -> list[Path]:
    """Write the archive (and loose list) of `dataset` into `folder`; `letters` is where the embedded set is kept.

    Raises DatasetError for a data set without such a form.
    """
    if dataset not in _MAKERS:
        raise DatasetError(f"{dataset}: embedded letters come in the layouts of {', '.join(_MAKERS)}")
    splits = glyphs.build(letters)
    chosen = {part: _some_classes(split, CLASSES[part]) for part, split in splits.items()}
    name = archives.ARCHIVES[dataset].split()[0]
    files, loose, counts = _MAKERS[dataset](chosen)
    marker = json.dumps({"what": "letters drawn from fonts, not the data set", "splits": counts}, indent=1)
    files = {f"{_top(files)}{MARKER}": marker.encode(), **files}
    written = [folder / name]
    write_atomically(written[0], lambda path: (_tar if name.endswith(".tgz") else _zip)(path, files))
    for other, content in loose.items():
        written.append(folder / other)
        write_atomically(written[-1], lambda path, c=content: path.write_bytes(c))  # type: ignore[misc]
    return written


def _some_classes(split: Split, count: int) -> Split:
    """Classes spread evenly over the list, so that every script is among them."""
    classes = np.unique(split.labels)
    kept = classes[np.linspace(0, len(classes) - 1, count).astype(int)]
    return split.subset(np.isin(split.labels, kept))


def _top(files: Files) -> str:
    """The folder that all files lie in, with its slash; empty where there is none."""
    tops = {name.split("/")[0] for name in files}
    return f"{tops.pop()}/" if len(tops) == 1 and "img" not in tops else ""


def _counts(**parts: Split) -> dict[str, list[int]]:
    return {part: [len(split), split.num_classes] for part, split in parts.items()}


def _read(split: Split) -> list[bytes]:
    return [Path(file).read_bytes() for file in split.files()]


def _sop(splits: dict[str, Split]) -> tuple[Files, Files, dict[str, list[int]]]:
    """Stanford_Online_Products/: Ebay_*.txt and one *_final folder per script."""
    top, first, files = "Stanford_Online_Products", 1, {}
    for part, split in splits.items():
        lines = io.StringIO()
        supers = split.super_labels if split.super_labels is not None else np.ones(len(split), int)
        lines.write(sop.HEADER + "\n")
        for i, (label, kind, path) in enumerate(zip(split.labels, supers, split.paths), first):
            lines.write(f"{i} {label} {kind} {path}\n")
        first += len(split)
        files[f"{top}/Ebay_{part}.txt"] = lines.getvalue().encode()
    for split in splits.values():
        files |= {f"{top}/{path}": data for path, data in zip(split.paths, _read(split))}
    return files, {}, _counts(**splits)


def _cub(splits: dict[str, Split]) -> tuple[Files, Files, dict[str, list[int]]]:
    """CUB_200_2011/: images.txt and its sisters; the box is the rectangle of ink."""
    top = "CUB_200_2011"
    tables: dict[str, list[str]] = {name: [] for name in ("images", "image_class_labels", "classes", "bounding_boxes")}
    files: Files = {}
    image = label = 0
    for part, split in splits.items():
        assert (label == cub.TRAIN_CLASSES) == (part == "test")
        boxes = with_boxes(split).boxes
        data = _read(split)
        assert boxes is not None
        for old in np.unique(split.labels):
            label += 1
            rows = np.flatnonzero(split.labels == old)
            name = f"{label:03}.{Path(split.paths[rows[0]]).name.split('_')[0]}"
            tables["classes"].append(f"{label} {name}")
            for row in rows:
                image += 1
                path = f"{name}/{Path(split.paths[row]).name}"
                tables["images"].append(f"{image} {path}")
                tables["image_class_labels"].append(f"{image} {label}")
                tables["bounding_boxes"].append(f"{image} " + " ".join(f"{value:.1f}" for value in boxes[row]))
                files[f"{top}/images/{path}"] = data[row]
    lists = {f"{top}/{name}.txt": ("\n".join(lines) + "\n").encode() for name, lines in tables.items()}
    return {**lists, **files}, {}, _counts(**splits)


def _inshop(splits: dict[str, Split]) -> tuple[Files, Files, dict[str, list[int]]]:
    """img.zip (without DeepFashion's password) and the list; every other picture of a test letter is a query."""
    files: Files = {}
    lines = []
    seen: dict[str, dict[int, int]] = {"train": {}, "query": {}, "gallery": {}}
    for part, split in splits.items():
        turn: dict[int, int] = {}
        for path, label, data in zip(split.paths, split.labels.tolist(), _read(split)):
            turn[label] = turn.get(label, 0) + 1
            status = "train" if part == "train" else ("gallery", "query")[turn[label] % 2]
            seen[status][label] = seen[status].get(label, 0) + 1
            name = f"img/LETTERS/{Path(path).parent.name}/id_{label:08}/{turn[label]:02}_1_front{Path(path).suffix}"
            files[name] = data
            lines.append(f"{name} id_{label:08} {status}")
    text = f"{len(lines)}\nimage_name item_id evaluation_status\n" + "\n".join(lines) + "\n"
    counts = {part: [sum(labels.values()), len(labels)] for part, labels in seen.items()}
    return files, {LIST: text.encode()}, counts


_MAKERS: dict[str, Callable[[dict[str, Split]], tuple[Files, Files, dict[str, list[int]]]]] = {
    "sop": _sop,
    "cub": _cub,
    "inshop": _inshop,
}


def _zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # a fixed date: the same archive every time


def _tar(path: Path, files: Files) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
