"""Stanford Online Products (Song et al., CVPR 2016).

    Stanford_Online_Products/
      Ebay_train.txt  Ebay_test.txt     header, then: image_id class_id super_class_id path
      bicycle_final/111085122871_0.JPG  ... 12 folders, one per kind of product

Labels are the `class_id`s: 1 .. 11,318 in training, 11,319 .. 22,634 in test.
"""

from __future__ import annotations

from pathlib import Path

from ports.datasets.description import Dataset, Files, Packed, counted
from ports.datasets.layout import find_root, read_lines, safe_path, to_int
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split

HEADER = "image_id class_id super_class_id path"


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train" and "test" of a Stanford_Online_Products folder.

    Raises DatasetError: not that folder, a malformed line (file:line), images that are missing (how many, the first
    three), counts that are not the published 59,551/11,318 and 60,502/11,316.
    """
    folder = find_root(root, "Stanford Online Products", "Ebay_train.txt", "Ebay_test.txt")
    splits = {part: read_list(folder / f"Ebay_{part}.txt", name=f"sop/{part}") for part in ("train", "test")}
    return DATASET.finish(folder, splits, check_counts, check_files)


def read_list(path: Path, *, name: str) -> Split:
    """One Ebay_*.txt; image paths are relative to its folder."""
    paths, labels, supers = [], [], []
    for number, line in read_lines(path):
        if number == 1 and line.split() == HEADER.split():
            continue
        fields = line.split(maxsplit=3)
        if len(fields) != 4:
            raise DatasetError(f"{path}:{number}: expected '{HEADER}', got {line!r}")
        to_int(fields[0], path, number, "image_id")
        labels.append(to_int(fields[1], path, number, "class_id"))
        supers.append(to_int(fields[2], path, number, "super_class_id"))
        paths.append(safe_path(fields[3], path, number))
    if not paths:
        raise DatasetError(f"{path}: no images listed")
    return Split(paths, labels, name=name, root=path.parent, super_labels=supers)  # type: ignore[arg-type]


def write_list(path: Path, split: Split, *, first_id: int = 1) -> None:
    """Write a split as an Ebay_*.txt, image ids counting from `first_id`."""
    path.write_text(_list_text(split, first_id), encoding="utf-8")


def _list_text(split: Split, first_id: int) -> str:
    supers = split.super_labels if split.super_labels is not None else [1] * len(split)
    rows = zip(range(first_id, first_id + len(split)), split.labels, supers, split.paths)
    return "\n".join([HEADER, *(f"{i} {label} {kind} {name}" for i, label, kind, name in rows)]) + "\n"


def pack(splits: dict[str, Split]) -> Packed:
    """Stanford_Online_Products/: Ebay_*.txt and the images under their own paths."""
    top, first = "Stanford_Online_Products", 1
    files: Files = {}
    for part, split in splits.items():
        files[f"{top}/Ebay_{part}.txt"] = _list_text(split, first).encode()
        first += len(split)
    for split in splits.values():
        files |= {f"{top}/{path}": data for path, data in zip(split.paths, split.contents())}
    return files, {}, counted(**splits)


DATASET = Dataset(
    name="sop",
    title="SOP",
    read=read,
    counts={"train": (59551, 11318), "test": (60502, 11316)},
    archives="Stanford_Online_Products.zip",
    folders=r".+_final|Stanford_Online_Products",
    pack=pack,
    offer=Offer(
        page="https://cvgl.stanford.edu/projects/lifted_struct/",
        files=(
            Archive(
                "Stanford_Online_Products.zip",
                url="http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                md5="7f73d41a2f44250d4779881525aea32e",
            ),
        ),
    ),
)
