"""Wheels are built reproducibly: whoever builds a commit gets the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import REPO
from helpers.programs import needs_git


def build(place: Path, project: str, moment: float, umask: int) -> str:
    """sha256 of the wheel made from a copy of the tracked files, as another user would have them at another time."""
    listed = subprocess.run(["git", "-C", str(REPO), "ls-files", "-z"], capture_output=True, text=True, check=True)
    before = os.umask(umask)
    try:
        for name in listed.stdout.split("\0")[:-1]:
            if (REPO / name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(REPO / name, place / name)
                os.utime(place / name, (moment, moment))
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place / "dist")]
        subprocess.run(command, cwd=place / project, capture_output=True, text=True, check=True)
    finally:
        os.umask(before)
    (wheel,) = (place / "dist").iterdir()
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.mark.slow
@needs_git
@pytest.mark.parametrize("project", [".", "golden"])
def test_two_builds_are_the_same_to_the_bit(tmp_path, project, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first = build(tmp_path / "a", project, 1e9, 0o022)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert build(tmp_path / "another folder", project, 1.7e9, 0o077) == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert build(tmp_path / "c", project, 1e9, 0o022) != first, "the comparison sees a moment"
