"""Files that Caffe itself wrote, small enough to travel with the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = Path(__file__).resolve().parents[2] / "golden" / "data" / "tiny"


@pytest.fixture(scope="session")
def tiny() -> Path:
    """One folder per fork: a small net, its solver, and the snapshots that the fork's Caffe wrote of it."""
    return TINY
