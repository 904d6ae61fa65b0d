"""Where the reference data are from: golden/data/manifest.json. Imports neither NumPy nor torch."""

from __future__ import annotations

import fnmatch
import json
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("data")
KINDS = ("authors_program", "hand_computed", "paper_table", "authors_log", "own_run")


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """All entries; fields files, kind, program, release, dtype, what, licence."""
    return tuple(json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))["entries"])


def provenance(file: str) -> dict[str, Any]:
    """The entry of a file (path below golden/data, with `/`); KeyError if there is none."""
    for entry in entries():
        if any(fnmatch.fnmatchcase(file, pattern) for pattern in entry["files"]):
            return entry
    raise KeyError(f"golden/data/manifest.json does not say where {file} is from")
