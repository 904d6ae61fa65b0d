"""Which recorded program does TARGET equal, or come nearest to? Tries every set whose arguments it takes; nearest first."""

from __future__ import annotations

import argparse
import json

import numpy as np

from ..ranking import identify, separates
from ..report import Report
from ..tables import table, width, wrapped
from .common import UsageError, load, loss_arguments


def arguments(parser: argparse.ArgumentParser) -> None:
    loss_arguments(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable: every set, the nearest first")
    parser.add_argument("--all", action="store_true", help="show every set, not the nearest twelve")


def _row(report: Report) -> tuple[str, ...]:
    good = sum(row.verdict == "pass" for row in report.rows)
    kind = report.relation.kind if report.relation else ""
    verdict = "equals" if kind == "equal" else kind
    cosines = [f"{c:.4f}" if np.isfinite(c) else "-" for c in (report.cosine, report.nearness)]
    return verdict, report.against, f"{good} of {len(report.rows)}", *cosines, report.what


def run(options: argparse.Namespace) -> int:
    loss = load(options)
    try:
        reports = identify(loss, device=options.device, framework=options.framework)
    except TypeError as error:
        raise UsageError(str(error)) from error
    first = reports[0]
    if options.json:
        print(json.dumps([report.as_dict() for report in reports], indent=1))
        return 0 if first.relation is not None and first.relation.kind == "equal" else 1
    if first.relation is None or first.relation.kind == "error":
        print(f"{options.target} gives no numbers on any set:")
        for why in dict.fromkeys(row.why for report in reports for row in report.rows if row.verdict == "error"):
            print(f"  {why}")
        return 1
    shown = reports if options.all else reports[:12]
    lines = table(
        [("verdict", "set", "cases", "cosine", "nearest form's", "what"), *map(_row, shown)],
        width(),
        right=(2, 3, 4),
        names=(0, 1, 2, 3, 4),
    )
    print("\n".join(lines) + ("" if len(shown) == len(reports) else f"\n... {len(reports) - len(shown)} more (--all)"))
    if first.relation and first.relation.kind == "equal":
        return 0
    print(f"\n{options.target} equals none of them; nearest is {first.against}. What separates them:")
    for line in separates(loss, first, device=options.device, framework=options.framework):
        print(wrapped(line, width() or 140, "  "))
    return 1
