"""Data sets of deep metric learning: official layouts, a user's own pictures, and the letters (`glyphs`).

    splits = read("sop", "/data/Stanford_Online_Products")     # {"train": Split, "test": Split}
    describe("sop").counts                     # what its publishers say is in it
    splits = glyphs.build("glyphs")            # from ports.datasets import glyphs; needs no download

A module of this folder that has a `DATASET` is an official data set: a new one is one new file. Nothing here imports
torch, and nothing reads pixels except `glyphs`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

from ports.datasets.description import Dataset as Dataset
from ports.datasets.split import DatasetError as DatasetError
from ports.datasets.split import Split as Split


@cache
def _modules() -> dict[str, Any]:
    found = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.DATASET.name: module for module in found if hasattr(module, "DATASET")}


def names() -> list[str]:
    """The official data sets."""
    return list(_modules())


def describe(dataset: str) -> Dataset:
    """What is known of an official data set. Raises DatasetError for a name that is none."""
    if dataset not in _modules():
        raise DatasetError(f"unknown data set {dataset!r}; there are {', '.join(_modules())}")
    return _modules()[dataset].DATASET


def read(dataset: str, root: str | Path, **options: Any) -> dict[str, Split]:
    """Splits of an official data set below `root`; options: check_counts=True, check_files=True."""
    return describe(dataset).read(root, **options)
