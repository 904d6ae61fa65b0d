"""Published numbers with their sources."""

from __future__ import annotations

import argparse
import json

from ..published import kinds, own, rows, unheld
from ..tables import table, width
from .common import UsageError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--paper", help="text in the paper's or method's name")
    parser.add_argument("--dataset", help="text in the dataset's name")
    parser.add_argument("--metric", help="such as R@1")
    parser.add_argument("--kind", help="published, repo log, ...")
    parser.add_argument("--json", action="store_true", help="machine-readable, with sources and quotes")
    parser.add_argument(
        "--unheld", action="store_true", help="rows of the authors' own methods that no recipe is held to, and why"
    )


def run(options: argparse.Namespace) -> int:
    if options.kind is not None and options.kind not in kinds():
        raise UsageError(f"no published number is of kind {options.kind!r}; there are: {', '.join(kinds())}")
    found = rows(paper=options.paper, dataset=options.dataset, metric=options.metric, kind=options.kind)
    reasons: dict[int, str] = {}
    if options.unheld:
        reasons = {id(row): reason for row, reason in unheld()}
        found = [row for row in found if id(row) in reasons]
    if not found:
        raise UsageError("no published number matches")
    if options.json:
        shown = [{**row, "unheld": reasons[id(row)]} if options.unheld else row for row in found]
        print(json.dumps(shown, indent=1, ensure_ascii=False))
        return 0
    last = "why no recipe is held to it" if options.unheld else "source"
    cells = [("paper", "method", "dataset", "numbers", "kind", last)]
    for row in found:
        numbers = " ".join(f"{k} {v}" for k, v in row["metric"].items() if options.metric in (None, k))
        told = reasons[id(row)] if options.unheld else row.get("source", "")
        cells.append((row["paper"], row["method"], row["dataset"], numbers, row["kind"], told))
    print("\n".join(table(cells, width(), names=(2, 4))))
    if options.unheld:
        print(f"{len(found)} of {len(own())} rows of the authors' own methods.")
    return 0
