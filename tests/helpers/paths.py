"""Where things are: the repository, its recorded data, the recorded reference outputs beside it."""

from __future__ import annotations

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DATA = REPO / "golden" / "data"
REFERENCE = Path(os.environ.get("DML_PORTS_REFERENCE", REPO.parent / "shared" / "reference"))


def environment(**more: str) -> dict[str, str]:
    """For a Python of its own: this checkout's packages and the tests' helpers are importable, whatever is installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tests")]), **more}
