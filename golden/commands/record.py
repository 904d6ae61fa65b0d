"""Freeze what TARGET computes today (kind own_run), for `check --against OUT` later."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..records import RecordError, record
from .common import load, loss_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    loss_arguments(parser)
    parser.add_argument("--name", required=True, help="the record's name")
    parser.add_argument("--out", required=True, help="folder for NAME.json and NAME.npz")
    parser.add_argument("--seed", type=int, default=0, help="of the battery of batches (default: 0)")
    parser.add_argument("--force", action="store_true", help="replace a record of that name")


def run(options: argparse.Namespace) -> int:
    loss = load(options)
    try:
        path = record(
            loss, options.name, options.out, seed=options.seed, device=options.device, force=options.force,
            framework=options.framework,
        )  # fmt: skip
    except (RecordError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"recorded {options.name} in {path}; compare with: check {options.target} --against {Path(options.out)}")
    return 0
