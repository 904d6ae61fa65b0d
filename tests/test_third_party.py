"""THIRD_PARTY.md names every data file that the packages bundle, and none that is not there."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from helpers.paths import REPO

OURS = {".py", ".md", ".typed", ".toml"}


def bundled() -> list[str]:
    files = [
        path for package in ("caffe_compat", "ports", "paper_recipes", "golden") for path in (REPO / package).rglob("*")
    ]
    found = [path.relative_to(REPO) for path in files if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path.as_posix() for path in found if path.suffix not in OURS and path.name != "LICENSE")


def patterns(text: str) -> list[str]:
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    assert all(len(row) == 5 and row[2].strip() and row[3].strip() for row in rows), "a row without origin or reason"
    return [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row[1])]


def unnamed(files: list[str], names: list[str]) -> list[str]:
    return [file for file in files if not any(fnmatch.fnmatch(file, name) for name in names)]


def test_every_bundled_file_has_its_origin():
    names = patterns((REPO / "THIRD_PARTY.md").read_text(encoding="utf-8"))
    assert len(bundled()) > 100 and not unnamed(bundled(), names)
    files = [*bundled(), *(path.relative_to(REPO).as_posix() for path in Path(REPO / "golden" / "data").rglob("*.md"))]
    assert not [name for name in names if not fnmatch.filter(files, name)], "a row of what is not there"
    assert unnamed(["golden/data/new/weights.bin"], names), "a new file is noticed"
