"""`python -m golden`. Exit code 0: equal; 1: differs, or not as recorded; 2: usage, damaged data, or a target that cannot be loaded."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from .commands.common import UsageError
from .integrity import DamagedError

# command -> (its module, one line); none is imported before its use
COMMANDS = {
    "list": ("listing", "golden sets, with their arguments and settings"),
    "check": ("check", "compare a loss with a golden set"),
    "identify": ("identify", "which recorded program does a loss equal?"),
    "record": ("record", "freeze what a loss computes today"),
    "published": ("published", "published numbers with their sources"),
    "mutants": ("mutants", "which case catches which known wrong port"),
    "audit": ("audit", "what do a library's losses compute?"),
    "add": ("add", "validate a set that somebody made, and add it"),
    "verify": ("verify", "is every data file the one that was recorded?"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; `{self.prog} -h` shows the usage")


def _overview(prog: str) -> str:
    lines = [f"usage: {prog} COMMAND ...", "", "Check a loss against numbers that the authors' programs computed.", ""]
    lines += [f"  {name:10} {words}" for name, (_, words) in COMMANDS.items()]
    return "\n".join([*lines, "", f"`{prog} COMMAND -h` shows a command's arguments."])


def _run(arguments: Sequence[str], prog: str) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(prog))
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        raise UsageError(f"no such command {name!r}; there are {', '.join(COMMANDS)}")
    module = import_module(f".commands.{COMMANDS[name][0]}", __package__)
    parser = _Parser(f"{prog} {name}", description=module.__doc__, allow_abbrev=False)
    module.arguments(parser)
    return int(module.run(parser.parse_intermixed_args(rest)))


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> NoReturn:
    """Run one command and exit."""
    prog = prog or f"python -m {__package__}"
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments, prog)
    except (UsageError, DamagedError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        code = 2
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
