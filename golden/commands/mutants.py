"""Which case catches which known wrong port, and which settings moved by 2 % are noticed (Markdown tables)."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..mutants import replace_table, settings_table, table
from .common import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", metavar="FILE", help="replace the tables in this Markdown file")


def run(options: argparse.Namespace) -> int:
    if options.write is None:
        print(table())
        print(settings_table())
        return 0
    try:
        replace_table(Path(options.write))
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    print(f"wrote the tables into {options.write}")
    return 0
