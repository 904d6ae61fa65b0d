"""The data of a run: the embedded set, or a user's folder, as a training and a test split.

Both come through the same door: `.mat` splits in the authors' form, read by `caffe_compat.load_split`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import caffe_compat
from paper_recipes.recipe import Recipe
from paper_recipes.runner.plan import Plan
from ports import determinism
from ports.datasets import glyphs, sop
from ports.datasets.split import Split

READERS = {"sop": sop.read}


@dataclass
class Data:
    train: Split
    test: Split
    description: dict[str, Any]  # JSON types, goes into the run record


class DataError(ValueError):
    """Data that a recipe cannot run on: which path, what was expected."""


def cache_folder() -> Path:
    """Where the embedded set is kept: $DML_PORTS_CACHE, else the user's cache folder."""
    if "DML_PORTS_CACHE" in os.environ:
        return Path(os.environ["DML_PORTS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dml-ports"


def open_embedded(plan: Plan, seed: int) -> Data:
    """Letters drawn by type designers: some classes to train on, others to test on, as many as the plan says."""
    root = cache_folder() / "glyphs"
    splits = glyphs.build(root)
    train, test = (_through_mat(splits[part], root / f"{part}.mat") for part in ("train", "test"))
    train = _some_classes(train, plan.train_classes, seed)
    test = _some_classes(test, plan.test_classes, seed)
    description = _describe("embedded letters", root, train, test)
    named = splits["test"]
    if named.class_names:  # a .mat in the authors' form has no names
        names = dict(zip(np.unique(named.labels).tolist(), named.class_names))
        description["class_names"] = {str(label): names[label] for label in np.unique(test.labels).tolist()}
    return Data(train, test, description)


def open_folder(recipe: Recipe, root: Path) -> Data:
    """The recipe's own data set in its official layout under `root`."""
    if not root.is_dir():
        raise DataError(f"--data {root}: no such folder")
    splits = READERS[recipe.dataset](root)
    train, test = splits["train"], splits["test"]
    for split in (train, test):
        split.check_files()
    return Data(train, test, _describe(recipe.dataset, root, train, test))


def _through_mat(split: Split, path: Path) -> Split:
    """Write the split as the authors' .mat and read it back: the embedded form takes the real one's path."""
    caffe_compat.save_split(split, path)
    return caffe_compat.load_split(path, image_root=split.root)


def _some_classes(split: Split, count: int | None, seed: int) -> Split:
    """`count` classes drawn by the seed with all their images; all classes for None."""
    classes = np.unique(split.labels)
    if count is None:
        return split
    if count > len(classes):
        raise DataError(f"{split.name}: {count} classes were asked for, there are {len(classes)}")
    chosen = determinism.stream(seed, "subset").choice(classes, size=count, replace=False)
    return split.subset(np.isin(split.labels, chosen))


def _describe(name: str, root: Path, train: Split, test: Split) -> dict[str, Any]:
    def part(split: Split) -> dict[str, Any]:
        return {"images": len(split), "classes": len(np.unique(split.labels)), "fingerprint": split.fingerprint()}

    return {"name": name, "root": str(root), "train": part(train), "test": part(test)}
