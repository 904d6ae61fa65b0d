"""Files that Caffe itself wrote, small enough to travel with the repository."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.paths import DATA

TINY = DATA / "tiny"


@pytest.fixture(scope="session")
def tiny() -> Path:
    """One folder per fork: a small net, its solver, and the snapshots that the fork's Caffe wrote of it."""
    return TINY


@pytest.fixture(scope="session")
def matlab73():
    """Writer of 7.3 files as MATLAB lays them out, without our writer.

    `matlab73(path, build)` calls `build(cell, char, double)`, which makes the variables, and returns the path.
    """
    return _matlab73


@pytest.fixture(scope="session")
def cells():
    """`cells(values)`: an (N, 1) cell array for scipy.io.savemat."""
    return _cells


def _matlab73(path, build):
    """A 7.3 file as MATLAB lays it out, without our writer: `build(cell, char, double)` makes the variables."""
    with h5py.File(path, "w", userblock_size=512) as file:
        count = iter(range(1000))

        def put(name, data, kind, empty=False):
            node = file.create_dataset(name or f"#refs#/{next(count)}", data=data)
            node.attrs["MATLAB_class"] = np.bytes_(kind)
            if empty:
                node.attrs["MATLAB_empty"] = np.uint8(1)
            return node

        def char(text, name=None):
            if not text:
                return put(name, np.array([0, 0], "u8"), "char", empty=True)
            return put(name, np.array([[ord(c)] for c in text], "u2"), "char")  # (length, 1): MATLAB's 1 x length

        def double(values, name=None):
            return put(name, np.array(values, float).T, "double")

        def cell(rows, name=None):
            references = np.empty((len(rows[0]), len(rows)), dtype=h5py.ref_dtype)
            for i, row in enumerate(rows):
                for j, node in enumerate(row):
                    references[j, i] = node.ref
            return put(name, references, "cell")

        build(cell, char, double)
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


def _cells(paths):
    column = np.empty((len(paths), 1), dtype=object)
    column[:, 0] = paths
    return column
