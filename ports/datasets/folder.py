"""A user's own pictures: one folder per class.

    my_folder/apple/1.jpg ...  my_folder/pear/...           first half of the classes (by name) trains, the rest tests
    my_folder/train/apple/...  my_folder/test/pear/...      the user's own division

Pictures may lie deeper inside a class folder. Hidden files and files that are no pictures are passed over.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ports.datasets.split import DatasetError, Split

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def read(root: str | Path, *, train_share: float = 0.5) -> dict[str, Split]:
    """Splits "train" and "test". Labels count from 1 over all class names in alphabetical order.

    `train_share`: share of the classes that train where there are no train/ and test/ folders; at least one class goes
    to either side. Raises DatasetError: no such folder, pictures that lie in no class folder, a class without
    pictures, fewer than two classes.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder (expected one folder of pictures per class)")
    folder = folder.resolve()
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        found = {part: _classes(folder / part) for part in ("train", "test")}
    else:
        classes = _classes(folder)
        if len(classes) < 2:
            raise DatasetError(
                f"{folder}: {len(classes)} class folder(s); retrieval on unseen classes needs two or more"
            )
        if not 0 < train_share < 1:
            raise DatasetError(f"train_share must be between 0 and 1, got {train_share}")
        order = sorted(classes)
        cut = min(max(1, round(len(order) * train_share)), len(order) - 1)
        found = {"train": {c: classes[c] for c in order[:cut]}, "test": {c: classes[c] for c in order[cut:]}}
    number = {name: i for i, name in enumerate(sorted(set().union(*found.values())), 1)}
    splits = {}
    for part, classes in found.items():
        names = sorted(classes)
        files = [(file, number[name]) for name in names for file in classes[name]]
        paths = [Path(file).relative_to(folder).as_posix() for file, _ in files]
        labels = np.array([label for _, label in files], dtype=np.int64)
        splits[part] = Split(paths, labels, f"{folder.name}/{part}", folder, class_names=names)
    return splits


def _classes(folder: Path) -> dict[str, list[str]]:
    """Class name -> its picture files, sorted."""
    classes: dict[str, list[str]] = {}
    loose = sorted(p.name for p in folder.iterdir() if p.is_file() and _is_picture(p.name))
    if loose:
        raise DatasetError(f"{folder}: {len(loose)} picture(s) outside any class folder: {', '.join(loose[:3])}")
    for entry in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = []
        for where, folders, names in os.walk(entry):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            files += [os.path.join(where, name) for name in sorted(names) if _is_picture(name)]
        if not files:
            raise DatasetError(f"{entry}: a class folder without pictures ({', '.join(SUFFIXES)})")
        classes[entry.name] = files
    if not classes:
        raise DatasetError(f"{folder}: no class folders in it (expected one folder of pictures per class)")
    return classes


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)
