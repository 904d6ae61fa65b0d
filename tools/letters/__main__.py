"""`python -m tools.letters table|spread|growth --out FOLDER`: letters runs of many recipes, and the tables of docs/letters.md.

    table    every recipe with three seeds, from the letters' start: does each learn, by more than the seeds differ?
    spread   rll-sop and four of other families with one thread and two, kernels limited to AVX2 and to SSE4.1, and in float64
    growth   30 steps of rll-sop with one thread and two, in float32 and float64, and AVX2's kernels: how fast they part

Each run is a process of its own and its folder stays: what is finished is not run again, what was stopped goes on. Recipes that are one
and the same run on the letters are run once. A table is printed at the end, of what there is; --print runs nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paper_recipes import registry
from tools.letters import growth, runs, tables

FAMILIES = ("rll-sop", "osm-cub-bbox", "rll-tpami-market1501", "ms-cub", "dm-contrastive-cub")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.letters", description=__doc__)
    parser.add_argument("what", choices=("table", "spread", "growth"))
    parser.add_argument(
        "--out", type=Path, default=Path("runs/letters"), help="where the runs' folders are [runs/letters]"
    )
    parser.add_argument("--recipes", nargs="*", metavar="NAME", help="these alone")
    parser.add_argument("--seeds", type=int, default=3, help="of table: the recipe's own and the next ones [3]")
    parser.add_argument("--threads", type=int, help="of table: torch's threads")
    parser.add_argument("--print", action="store_true", dest="only_print", help="run nothing")
    given = parser.parse_args()
    if given.what == "table":
        groups = runs.same_runs([registry.get(name) for name in given.recipes or registry.RECIPES])
        plan = [run for group in groups for run in runs.seeds(group[0], given.seeds, given.threads)]
    elif given.what == "growth":
        groups = [[registry.get("rll-sop")]]
        plan = list({run.name: run for pair in growth.pairs(groups[0][0]).values() for run in pair}.values())
    else:
        groups = [[registry.get(name)] for name in given.recipes or FAMILIES]
        plan = [run for group in groups for run in runs.machines(group[0])]
    for number, run in enumerate([] if given.only_print else plan, 1):
        print(f"{number} of {len(plan)}: {run.name}", flush=True)
        run.finish(given.out)
    if given.what == "table":
        print(tables.learning(groups, given.seeds, given.out))
    elif given.what == "growth":
        print(growth.report(groups[0][0], given.out))
    else:
        print(tables.spread(groups, given.out))


if __name__ == "__main__":
    main()
