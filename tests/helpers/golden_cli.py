"""`python -m golden` without a new process."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from golden.cli import main


@dataclass
class Result:
    """`output`: stdout and stderr, in the order in which they were written."""

    exit_code: int
    output: str


def golden(*arguments: object) -> Result:
    """Run one command; whatever else than SystemExit it raises passes."""
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        try:
            main([str(a) for a in arguments])
        except SystemExit as leave:
            return Result(int(leave.code or 0), text.getvalue())
