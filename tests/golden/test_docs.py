"""docs/golden.md: its programs run, its sessions print what it says, its example project passes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import REPO

spec = importlib.util.spec_from_file_location("doc_sessions", REPO / "tools" / "doc_sessions.py")
doc_sessions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(doc_sessions)
TEXT = doc_sessions.DOC.read_text(encoding="utf-8")


def rounded(text: str) -> list[str]:
    """Lines without the digits and spaces that another machine's rounding may change."""
    lines = [
        re.sub(r"\s+", " ", re.sub(r"\d+\.\d+(e[+-]\d+)?|\de-\d\d", "#", line)).strip() for line in text.splitlines()
    ]
    return [line for line in lines if not line.startswith("devices")]


def test_the_sessions_print_what_the_page_shows(tmp_path):
    assert len(doc_sessions.SESSION.findall(TEXT)) == 3
    assert rounded(doc_sessions.with_sessions(TEXT, tmp_path)) == rounded(TEXT), "run python tools/doc_sessions.py"


def test_the_bug_is_named():
    first, second, curves = (match[2] for match in doc_sessions.SESSION.findall(TEXT))
    assert "the partner of a pair is not detached" in " ".join(first.split())
    assert "RankedList equals rll-cvpr19 (10 of 10 cases pass)" in second
    assert "| 55000 | 71.7 |" in curves


def pytest_in(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_example_project(tmp_path):
    names = ("contrastive.py", "test_contrastive.py")
    content = doc_sessions.files(TEXT)
    assert all(len([line for line in content[n].splitlines() if line.strip()]) <= 10 for n in names)
    for name in names:
        (tmp_path / name).write_text(content[name])
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    code, output = pytest_in(tmp_path)
    assert code == 1 and "make it with --golden-update" in output and "19 passed" in output, output
    code, output = pytest_in(tmp_path, "--golden-update")
    assert code == 0 and "31 passed" in output, output
    assert sorted(p.name for p in (tmp_path / "records").iterdir()) == ["contrastive.json", "contrastive.npz"]
    code, output = pytest_in(tmp_path)
    assert code == 0 and "31 passed" in output, output
    # A change of the loss is noticed by both.
    (tmp_path / "contrastive.py").write_text(content["contrastive.py"].replace("1 - s,", "1 - s * s,"))
    code, output = pytest_in(tmp_path)
    assert code == 1 and "DIFFERS from contrastive-deep-metric" in output and "DIFFERS from" in output, output
