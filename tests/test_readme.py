"""The README's Python session is what it says; its test command is what CI calls."""

from __future__ import annotations

import doctest

from helpers.paths import REPO


def test_the_session_in_the_readme_gives_that_output():
    failed, tried = doctest.testfile(str(REPO / "README.md"), module_relative=False, verbose=False)
    assert tried > 5 and failed == 0


def test_ci_calls_the_readmes_test_command():
    assert "tox -e tests" in (REPO / "README.md").read_text()
    assert "tox -e tests" in (REPO / ".ci" / "run").read_text()
