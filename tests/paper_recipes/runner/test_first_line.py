"""The first line of a run comes before torch is imported; what may yet be refused says nothing before it is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.paths import REPO, environment


@pytest.fixture
def without_torch(tmp_path):
    """Runs a command where torch ends the process: what it has printed by then, and on stderr."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit(7)\n")
    path = f"{tmp_path}:{REPO}"

    def run(*arguments):
        command = [sys.executable, "-m", "paper_recipes", "run", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment() | {"PYTHONPATH": path}, check=False
        )
        assert done.returncode == 7 and not done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rll-sop", "--smoke"), "rll-sop: LETTERS form, small scale"),
        (("ms-cub", "--iterations", "3", "--seed", "1"), "ms-cub: LETTERS form"),
        (("rll-sop", "--set", "caffe.solver.base_lr=0.1"), "rll-sop+"),
    ],
)
def test_the_first_line_does_not_wait_for_torch(without_torch, arguments, words):
    said = without_torch(*arguments)
    assert said.startswith(words) and said.count("\n") == 1


def test_fast_says_so_at_once(without_torch):
    assert "FAST" in without_torch("rll-sop", "--fast").splitlines()[1]


@pytest.mark.parametrize("arguments", [("--data", "nowhere"), ("--device", "gpu"), ("--require-data",)])
def test_nothing_is_said_of_what_may_be_refused(without_torch, arguments):
    assert without_torch("rll-sop", *arguments) == ""
