"""Recorded cases of the released Caffe losses: the repository's copy, else the full set of records."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from helpers.paths import REPO

COPY = REPO / "golden" / "data" / "losses_caffe"
REFERENCE = Path(os.environ.get("DML_PORTS_REFERENCE", REPO.parent / "shared" / "reference")) / "layers"
CASES = json.loads((COPY / "cases.json").read_text())

# float64: the same formulas summed in another order, at most 512 products of unit rows, weights exp(T * hinge) with T <= 20:
# 20 * 1e-15 relative. DESIGN's 1e-10 is far above that and far below the nearest wrong port (5e-9: margins as doubles).
# float32: the records carry float32 rounding of their own (a mean over 16,110 pairs: 2e-6); ours is rounded once.
RTOL = {"float64": 1e-10, "float32": 1e-5}
ATOL = {"float64": 1e-12, "float32": 0.0}


@functools.cache
def stored() -> dict[str, np.ndarray]:
    with np.load(COPY / "cases.npz") as npz:
        return dict(npz)


def arrays_of(name: str, dtype: str) -> dict[str, np.ndarray]:
    """Arrays of one case by their short names."""
    if CASES[name]["stored"]:
        mine = (f"{name}:input:", f"{name}:{dtype}:")
        return {key.rsplit(":", 1)[1]: array for key, array in stored().items() if key.startswith(mine)}
    if not REFERENCE.is_dir():
        pytest.skip(f"too large for the repository's copy, and there is no {REFERENCE}")
    with np.load(REFERENCE / CASES[name]["files"][dtype]) as npz:
        return dict(npz)
