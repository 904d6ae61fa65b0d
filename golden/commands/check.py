"""Compare TARGET (module:Name or file.py:Name) with a golden set."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..adapters import ADAPTERS
from ..badge import endpoint, svg
from ..checker import check, resolve
from ..files import write_atomically
from ..relation import KINDS
from ..tables import width
from .common import UsageError, load, loss_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    loss_arguments(parser)
    parser.add_argument(
        "--against", default="rll-cvpr19", help="a golden set, or a folder that `record` wrote (default: rll-cvpr19)"
    )
    parser.add_argument("--adapter", help=", ".join(ADAPTERS))
    parser.add_argument("--dtype", choices=("float64", "float32", "both"), default="float64")
    parser.add_argument("--tolerance", type=float, help="relative; standard: 1e-10 in float64, 1e-5 in float32")
    parser.add_argument("--case", action="append", help="only these cases (patterns)")
    parser.add_argument(
        "--accept", action="append", default=[], metavar="RELATION", help=f"passes too: {', '.join(KINDS[1:-1])}"
    )
    parser.add_argument("--report", action="append", default=[], metavar="FILE", help="write .md, .json or .txt")
    parser.add_argument("--plot", metavar="FILE", help="write a .png (needs matplotlib)")
    parser.add_argument("--badge", action="append", default=[], metavar="FILE", help="write .json (shields.io) or .svg")
    parser.add_argument("--compile", action="store_true", help="also under torch.compile: what does it change?")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def _files(options: argparse.Namespace) -> list[str]:
    """What is to be written; UsageError for a name that says no format."""
    wanted: list[tuple[str, tuple[str, ...]]] = [(path, (".md", ".json", ".txt")) for path in options.report]
    wanted += [(options.plot, (".png",))] if options.plot else []
    wanted += [(path, (".json", ".svg")) for path in options.badge]
    for path, endings in wanted:
        if not path.endswith(endings):
            raise UsageError(f"{path}: the name must end in {' or '.join(endings)}")
    return [path for path, _ in wanted if path not in options.badge]


def run(options: argparse.Namespace) -> int:
    if options.adapter is not None and options.adapter not in ADAPTERS:
        raise UsageError(f"unknown adapter {options.adapter!r}; there are {', '.join(ADAPTERS)}")
    files = _files(options)
    try:
        golden_set = resolve(options.against)  # before the loss: a mistyped name is told without waiting for torch
        report = check(
            load(options), golden_set, dtype=options.dtype, device=options.device, tolerance=options.tolerance,
            cases=options.case, adapter=ADAPTERS[options.adapter] if options.adapter else None, framework=options.framework, accept=options.accept,
            compile=options.compile,
        )  # fmt: skip
    except (KeyError, FileNotFoundError, TypeError, ValueError) as error:
        raise UsageError(str(error.args[0] if isinstance(error, KeyError) else error)) from error
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(report.json() if options.json else report.text(width() or 140, colours=colours), end="")
    for path in files:
        try:
            report.save(path)
        except (OSError, ImportError) as error:
            raise UsageError(f"cannot write {path}: {error}") from error
    for path in options.badge:
        try:
            write_atomically(Path(path), (svg if path.endswith(".svg") else endpoint)(report))
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error}") from error
    return report.exit_code
