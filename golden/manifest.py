"""Where the reference data are from: golden/data/manifest.json. Imports neither NumPy nor torch."""

from __future__ import annotations

import fnmatch
from functools import cache
from typing import Any

from .integrity import read_json

KINDS = ("authors_program", "hand_computed", "paper_table", "authors_log", "own_run", "independent_program")


@cache
def entries() -> tuple[dict[str, Any], ...]:
    """All entries; fields files, kind, program, release, dtype, what, licence."""
    return tuple(read_json("manifest.json")["entries"])


def provenance(file: str) -> dict[str, Any]:
    """The entry of a file (path below golden/data, with `/`); KeyError if there is none."""
    for entry in entries():
        if any(fnmatch.fnmatchcase(file, pattern) for pattern in entry["files"]):
            return entry
    raise KeyError(f"golden/data/manifest.json does not say where {file} is from")
