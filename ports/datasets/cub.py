"""Caltech-UCSD Birds 200-2011 (Wah et al. 2011), split as metric learning does: classes 1-100 train, 101-200 test.

    CUB_200_2011/
      images.txt               image_id path            1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
      image_class_labels.txt   image_id class_id
      classes.txt              class_id name
      bounding_boxes.txt       image_id x y width height
      images/001.Black_footed_Albatross/...

The official train_test_split.txt divides images within classes and is not used here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ports.datasets.description import Dataset, Files, Packed, counted
from ports.datasets.layout import find_root, read_lines, safe_path, to_int
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split

TRAIN_CLASSES = 100


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train" and "test" with boxes (x, y, width, height as in bounding_boxes.txt); labels 1 .. 200.

    Raises DatasetError: not that folder, a malformed line, an id without label or box, missing images, counts other
    than the published 5,864 and 5,924.
    """
    needed = ("images.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt", "images")
    folder = find_root(root, "CUB-200-2011", *needed)
    paths = _table(folder / "images.txt")
    labels = _table(folder / "image_class_labels.txt")
    boxes = _table(folder / "bounding_boxes.txt")
    names = {key: value for key, (value, _) in _table(folder / "classes.txt").items()}
    rows = []
    for image, (text, line) in paths.items():
        path = f"images/{safe_path(text, folder / 'images.txt', line)}"
        for table, file in ((labels, "image_class_labels.txt"), (boxes, "bounding_boxes.txt")):
            if image not in table:
                raise DatasetError(f"{folder / file}: image {image} of images.txt line {line} is missing")
        label = to_int(*_cell(labels[image], folder / "image_class_labels.txt"), "class_id")
        if label not in names:
            raise DatasetError(f"{folder / 'classes.txt'}: class {label} of image {image} is missing")
        rows.append((path, label, _box(*_cell(boxes[image], folder / "bounding_boxes.txt"))))
    splits = {}
    for part in ("train", "test"):
        chosen = [row for row in rows if (row[1] <= TRAIN_CLASSES) == (part == "train")]
        labels_array = np.array([row[1] for row in chosen], dtype=np.int64)
        splits[part] = Split(
            [row[0] for row in chosen],
            labels_array,
            f"cub/{part}",
            folder,
            class_names=[names[label] for label in np.unique(labels_array).tolist()],
            boxes=np.array([row[2] for row in chosen], dtype=np.float64).reshape(-1, 4),
        )
    return DATASET.finish(folder, splits, check_counts, check_files)


def _table(path: Path) -> dict[int, tuple[str, int]]:
    """`key rest` lines as key -> (rest, line number)."""
    table: dict[int, tuple[str, int]] = {}
    for number, line in read_lines(path):
        fields = line.split(maxsplit=1)
        if len(fields) != 2:
            raise DatasetError(f"{path}:{number}: expected an id and a value, got {line!r}")
        table[to_int(fields[0], path, number, "id")] = (fields[1], number)
    return table


def _cell(value: tuple[str, int], path: Path) -> tuple[str, Path, int]:
    return value[0], path, value[1]


def _box(text: str, path: Path, line: int) -> list[float]:
    try:
        box = [float(x) for x in text.split()]
    except ValueError:
        box = []
    if len(box) != 4 or not np.all(np.isfinite(box)):
        raise DatasetError(f"{path}:{line}: expected 'x y width height', got {text!r}")
    return box


def pack(splits: dict[str, Split]) -> Packed:
    """CUB_200_2011/: images.txt and its sisters. The first hundred classes must be those that train; boxes are needed."""
    top = "CUB_200_2011"
    tables: dict[str, list[str]] = {name: [] for name in ("images", "image_class_labels", "classes", "bounding_boxes")}
    files: Files = {}
    image = label = 0
    for part, split in splits.items():
        assert (label == TRAIN_CLASSES) == (part == "test") and split.boxes is not None
        data = split.contents()
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
                tables["bounding_boxes"].append(f"{image} " + " ".join(f"{value:.1f}" for value in split.boxes[row]))
                files[f"{top}/images/{path}"] = data[row]
    lists = {f"{top}/{name}.txt": ("\n".join(lines) + "\n").encode() for name, lines in tables.items()}
    return {**lists, **files}, {}, counted(**splits)


DATASET = Dataset(
    name="cub",
    title="CUB-200-2011",
    read=read,
    counts={"train": (5864, 100), "test": (5924, 100)},
    archives="CUB_200_2011.tgz",
    folders=r"\d{3}\.[A-Z].*|CUB_200_2011|images",
    boxes=True,
    pack=pack,
    offer=Offer(
        page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        files=(
            Archive(
                "CUB_200_2011.tgz",
                url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                size=1150585339,
                md5="97eceeb196236b17998738112f37df78",
            ),
        ),
        terms="for research and education that is not commercial; the pictures belong to their photographers",
    ),
)
