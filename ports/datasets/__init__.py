"""Data sets of deep metric learning: official layouts, a user's own pictures, and the embedded set (`glyphs`).

    splits = read("sop", "/data/Stanford_Online_Products")     # {"train": Split, "test": Split}
    splits = glyphs.build("glyphs")            # from ports.datasets import glyphs; needs no download

Nothing here imports torch, and nothing reads pixels except `glyphs` and `contact_sheet`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ports.datasets.counts import COUNTS as COUNTS
from ports.datasets.split import DatasetError as DatasetError
from ports.datasets.split import Split as Split

READERS = {  # name of a data set -> module with read(root, *, check_counts, check_files)
    "sop": "ports.datasets.sop",
    "cub": "ports.datasets.cub",
    "cars196": "ports.datasets.cars",
    "inshop": "ports.datasets.inshop",
    "market1501": "ports.datasets.market1501",
    "mars": "ports.datasets.mars",
    "lpw": "ports.datasets.lpw",
}


def read(dataset: str, root: str | Path, **options: Any) -> dict[str, Split]:
    """Splits of an official data set below `root`; options: check_counts=True, check_files=True."""
    if dataset not in READERS:
        raise DatasetError(f"unknown data set {dataset!r}; there are {', '.join(READERS)}")
    return importlib.import_module(READERS[dataset]).read(root, **options)
