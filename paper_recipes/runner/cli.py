"""The command line: `python -m paper_recipes list | show | run | evaluate | prepare | chain | report | verify | card | compare | curves |
leaderboard`.

torch is imported by the verbs that compute, not by those that only look something up.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from paper_recipes.runner import cli_lookup, cli_results, cli_run
from paper_recipes.runner.cli_common import PACKAGE
from paper_recipes.runner.cli_common import cli as cli
from ports import command_line

COMMANDS = (cli_lookup, cli_run, cli_results)  # imported: each puts its commands into the group


def main() -> None:
    """Entry point."""
    signal.signal(signal.SIGTERM, _stop)  # whatever is being done; the loop of a run has a way of its own
    sys.exit(command_line.main(cli, PACKAGE, other=_from_outside))


def _from_outside(error: Exception) -> tuple[str, int] | None:
    """What befalls a program from outside of it: memory that runs out, a process that is killed."""
    if not isinstance(error, (RuntimeError, MemoryError)):
        return None
    from paper_recipes.runner.training import failures  # torch

    cause = failures.words(error)
    return None if cause is None else (cause, failures.EXIT_CODE)


def _stop(number: int, frame: Any) -> None:
    """SIGTERM ends as Ctrl-C does: with a word, and what was half-written put away."""
    raise KeyboardInterrupt
