"""`python -m tests.fuzz --n 20000`: a table of how the mutants of each format ended; exit code 1 if one ended badly."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.fuzz.formats import FORMATS
from tests.fuzz.runner import Outcome, fuzz, main_supported


def table(outcomes: list[Outcome]) -> str:
    lines = ["| format | mutants | read | refused | undocumented error | memory | time | crash | slowest |"]
    lines.append("|---|---" + "|---:" * 7 + "|")
    for o in outcomes:
        cells = [str(o.counts[k] or "") for k in ("read", "refused", "undocumented", "memory", "time", "crash")]
        lines.append(f"| {o.name} | {o.counts.total():,} | " + " | ".join(cells) + f" | {o.slowest:.1f} s |")
    total = [sum(o.counts[k] for o in outcomes) for k in ("read", "refused", "undocumented", "memory", "time", "crash")]
    lines.append(
        f"| all | {sum(o.counts.total() for o in outcomes):,} | " + " | ".join(f"{n:,}" for n in total) + " | |"
    )
    return "\n".join(lines)


def _one(name: str, count: int, keep: Path | None) -> Outcome:
    return fuzz(FORMATS[name], count, keep)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="mutants of each format")
    parser.add_argument("--only", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="folder for the files that ended badly")
    parser.add_argument("--json", type=Path, help="write the counts here too")
    options = parser.parse_args()
    if not main_supported():
        sys.exit("the limits are set the Linux way")
    wrong = [name for name in options.only or () if name not in FORMATS]
    if wrong:
        parser.error(f"no format {', '.join(wrong)}; there are {', '.join(FORMATS)}")
    chosen = [FORMATS[name] for name in options.only or FORMATS]
    for each in chosen:
        each.warm_up()
    with ProcessPoolExecutor(options.jobs, get_context("fork")) as pool:
        names = [each.name for each in chosen]
        outcomes = list(pool.map(_one, names, [options.n] * len(names), [options.keep] * len(names)))
    print(table(outcomes))
    for outcome in outcomes:
        for kind, count in outcome.kinds.most_common():
            print(f"{outcome.name}: {kind}: {count}  {outcome.examples.get(kind, '')}")
    if options.json:
        facts = {o.name: {"counts": dict(o.counts), "kinds": dict(o.kinds)} for o in outcomes}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    return int(any(outcome.bad for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
