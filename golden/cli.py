"""`python -m golden`. Exit code 0: equal; 1: differs, or not as recorded; 2: usage, damaged data, or a target that cannot be loaded."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import NoReturn

from .commands.common import UsageError
from .integrity import DamagedError

# command -> (its module, one line, an example's arguments); none is imported before its use
COMMANDS = {
    "list": ("listing", "golden sets, with their arguments and settings", "'rll*'"),
    "check": ("check", "compare a loss with a golden set", "my_losses.py:RankedList --against rll-cvpr19"),
    "identify": ("identify", "which recorded program does a loss equal?", "my_losses.py:RankedList"),
    "record": ("record", "freeze what a loss computes today", "my_losses.py:RankedList --name today --out records"),
    "published": ("published", "published numbers with their sources", "--paper RLL --dataset SOP --metric R@1"),
    "mutants": ("mutants", "which case catches which known wrong port", "--write docs/golden.md"),
    "audit": ("audit", "what do a library's losses compute?", "pytorch-metric-learning"),
    "add": ("add", "validate a set that somebody made, and add it", "my_set --formula formula.py:loss --check"),
    "verify": ("verify", "is every data file the one that was recorded?", ""),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; `{self.prog} -h` shows the usage")


def _overview(prog: str) -> str:
    lines = [f"usage: {prog} COMMAND ...", "", "Check a loss against numbers that the authors' programs computed.", ""]
    lines += [f"  {name:10} {words}" for name, (_, words, _) in COMMANDS.items()]
    return "\n".join([*lines, "", f"`{prog} COMMAND -h` shows a command's arguments, `{prog} --version` the version."])


def _version() -> str:
    """Of the sources, where their pyproject.toml lies beside them; else of the distribution that holds them."""
    project = Path(__file__).with_name("pyproject.toml")
    if project.is_file():
        found = re.search(r'^name = "(.+)"\nversion = "(.+)"', project.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return f"{found[1]} {found[2]}"
    for name in ("dml-golden", "dml-ports"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "dml-golden, version unknown"


def _run(arguments: Sequence[str], prog: str) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(prog), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(_version())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"no command {name!r}.{hint} `{prog} --help` lists them")
    file, _, example = COMMANDS[name]
    module = import_module(f".commands.{file}", __package__)
    parser = _Parser(
        f"{prog} {name}",
        description=module.__doc__,
        allow_abbrev=False,
        epilog=f"Example:\n  {prog} {name} {example}".rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.arguments(parser)
    return int(module.run(parser.parse_intermixed_args(rest)))


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> NoReturn:
    """Run one command and exit. An error is one line; --debug, wherever it stands, shows its traceback."""
    prog = prog or f"python -m {__package__}"
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        code = _run([argument for argument in arguments if argument != "--debug"], prog)
    except (UsageError, DamagedError) as error:
        if debug:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
