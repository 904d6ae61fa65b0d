"""Cars196 (Krause et al. 2013), split as metric learning does: classes 1-98 train, 99-196 test.

Both official layouts are read:

    cars_annos.mat, car_ims/000001.jpg ...                      (the one the OSM+CAA release prepared its data from)
    devkit/cars_train_annos.mat, devkit/cars_test_annos_withlabels.mat, cars_train/, cars_test/

Each annotation has the box's corner pixels and a class 1 .. 196. The official train/test halves cut through classes
and are not used here.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ports.datasets.description import Dataset
from ports.datasets.layout import find_root, read_mat, safe_path
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split

TRAIN_CLASSES = 98
DEVKIT = (("cars_train_annos.mat", "cars_train"), ("cars_test_annos_withlabels.mat", "cars_test"))


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train" and "test" with boxes; labels 1 .. 196.

    A box is x1, y1, x2 - x1, y2 - y1: MATLAB's imcrop of it gives the pixels x1 .. x2, y1 .. y2, both ends included.
    Raises DatasetError: not that folder, a .mat file without the annotations, the test annotations without labels,
    missing images, counts other than the published 8,054 and 8,131.
    """
    root = Path(root)
    try:
        folder = find_root(root, "Cars196", "cars_annos.mat", "car_ims")
        rows = _annotations(folder / "cars_annos.mat", "relative_im_path", "")
        names = _class_names(folder / "cars_annos.mat")
    except DatasetError as first:
        try:
            folder = find_root(root, "Cars196", "devkit", "cars_train", "cars_test")
        except DatasetError:
            raise first from None
        rows = []
        for file, images in DEVKIT:
            where = next((p for p in (folder / "devkit" / file, folder / file) if p.is_file()), None)
            if where is None:
                raise DatasetError(f"{folder / 'devkit' / file}: file not found") from None
            rows += _annotations(where, "fname", f"{images}/")
        meta = folder / "devkit" / "cars_meta.mat"
        names = _class_names(meta) if meta.is_file() else None
    rows.sort(key=lambda row: row[1])  # stable: by class, as cars_annos.mat is already
    splits = {}
    for part in ("train", "test"):
        chosen = [row for row in rows if (row[1] <= TRAIN_CLASSES) == (part == "train")]
        labels = np.array([row[1] for row in chosen], dtype=np.int64)
        known = names is not None and labels.size and labels.max() <= len(names)
        splits[part] = Split(
            [row[0] for row in chosen],
            labels,
            f"cars196/{part}",
            folder,
            class_names=[names[i - 1] for i in np.unique(labels)] if known and names else None,
            boxes=np.array([row[2] for row in chosen], dtype=np.float64).reshape(-1, 4),
        )
    return DATASET.finish(folder, splits, check_counts, check_files)


def _annotations(path: Path, name_field: str, prefix: str) -> list[tuple[str, int, list[float]]]:
    """(path, class, box) of each annotation."""
    content = read_mat(path)
    table = content.get("annotations")
    table = [table] if isinstance(table, dict) else table  # a single annotation
    if table is None or not all(isinstance(row, dict) for row in np.ravel(table)):
        raise DatasetError(
            f"{path}: no struct array 'annotations' in it, only {', '.join(sorted(content)) or 'nothing'}"
        )
    fields = ("class", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    rows = []
    for number, row in enumerate(np.ravel(table), 1):
        for field in (name_field, *fields):
            if field not in row:
                hint = "; the labelled file is cars_test_annos_withlabels.mat" if field == "class" else ""
                raise DatasetError(f"{path}: annotations have no field {field!r}, only {', '.join(row)}{hint}")
        name = row[name_field]
        try:
            label, x1, y1, x2, y2 = (float(np.ravel(row[field])[0]) for field in fields)
        except (IndexError, ValueError, TypeError):
            label = math.nan
        if not isinstance(name, str) or not name or not math.isfinite(label) or not 1 <= label < 1 << 31:
            raise DatasetError(f"{path}: annotation {number} is empty or not numeric")
        if not all(map(math.isfinite, (x1, y1, x2, y2))):
            raise DatasetError(f"{path}: annotation {number} has a box that is not finite")
        rows.append((prefix + safe_path(name, path, number), int(label), [x1, y1, x2 - x1, y2 - y1]))
    return rows


def _class_names(path: Path) -> list[str] | None:
    names = read_mat(path).get("class_names")
    return None if names is None else [str(name) for name in np.ravel(names)]


DATASET = Dataset(
    name="cars196",
    title="CARS196",
    read=read,
    counts={"train": (8054, 98), "test": (8131, 98)},
    archives="car_ims.tgz and cars_annos.mat (or cars_train.tgz, cars_test.tgz, car_devkit.tgz and "
    "cars_test_annos_withlabels.mat)",
    folders=r"car_ims|cars_train|cars_test|devkit",
    boxes=True,
    offer=Offer(
        page="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        files=(Archive("car_ims.tgz"), Archive("cars_annos.mat")),
    ),
)
