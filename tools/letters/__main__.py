"""`python -m tools.letters table|spread|growth --out FOLDER`: letters runs of many recipes, and the tables of docs/letters.md.

    table    every recipe with three seeds, from the letters' start: does each learn, by more than the seeds differ?
    spread   rll-sop and four of other families with one thread and two, kernels limited to AVX2 and to SSE4.1, and in float64
    growth   30 steps of rll-sop with one thread and two, in float32 and float64, and AVX2's kernels: how fast they part

Each run is a process of its own and its folder stays: what is finished is not run again, what was stopped goes on. Recipes that are one
and the same run on the letters are run once. A table is printed at the end, of what there is; --print runs nothing.

--jobs runs as many side by side: on a GPU with sixteen cores --device cuda --jobs 14, on two cores --threads 1 --jobs 2.

A table takes hours on two cores. So results.csv beside this file has the runs that were finished so far, on which machine: tables are of those and of
the folder's, --rest goes on where they end, --record adds the folder's to them.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event

from paper_recipes import registry
from tools.letters import gains, growth, results, runs, tables

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
    parser.add_argument("--device", choices=("cpu", "cuda"), help="[table: cuda if there is one; spread: cpu]")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side [1]")
    parser.add_argument("--print", action="store_true", dest="only_print", help="run nothing")
    parser.add_argument("--rest", action="store_true", help="run only what results.csv has of no machine")
    parser.add_argument("--record", action="store_true", help="write what is finished into results.csv")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="of table: each seed's gain, as a PNG")
    given = parser.parse_args()
    if given.jobs < 1:
        parser.error(f"--jobs {given.jobs}: at least 1")
    if given.what == "growth":
        recipe = registry.get("rll-sop")
        plan = list({run.name: run for pair in growth.pairs(recipe).values() for run in pair}.values())
        finish([] if given.only_print else plan, given.out, given.jobs)
        print(growth.report(recipe, given.out))
        return
    if given.what == "table":
        groups = runs.same_runs([registry.get(name) for name in given.recipes or registry.RECIPES])
        plan = [run for group in groups for run in runs.seeds(group[0], given.seeds, given.threads, given.device)]
    else:
        groups = [[registry.get(name)] for name in given.recipes or FAMILIES]
        plan = [run for group in groups for run in runs.machines(group[0], given.device or "cpu")]
    before, outdated = results.current(results.recorded(results.PATH))
    if outdated:
        print(f"left out, as the recipe has changed since: {', '.join(sorted({result.recipe for result in outdated}))}")
    done = {(result.recipe, result.setting) for result in before} if given.rest else set()
    left = [] if given.only_print else [run for run in plan if (run.recipe, run.setting) not in done]
    finish(left, given.out, given.jobs)
    found = [results.of(registry.get(run.recipe), run, given.out) for run in plan]
    known = results.merged(before, [result for result in found if result is not None])
    if given.record:
        results.record(known, results.PATH)
    if given.what == "spread":
        print(tables.spread(groups, known))
        return
    if given.picture is not None:
        gains.picture(groups, given.seeds, known, given.picture)
    print(tables.learning(groups, given.seeds, known))


def finish(plan: list[runs.Run], out: Path, jobs: int) -> None:
    """As many at a time; after one that broke, or Ctrl-C, no further one begins."""
    broke = Event()

    def one(number: int, run: runs.Run) -> None:
        if broke.is_set():
            return
        print(f"{number} of {len(plan)}: {run.name}", flush=True)
        try:
            run.finish(out)
        except BaseException:
            broke.set()
            raise

    with ThreadPoolExecutor(jobs) as pool:
        ends = [pool.submit(one, number, run) for number, run in enumerate(plan, 1)]
        try:
            for end in as_completed(ends):
                end.result()
        finally:  # Ctrl-C comes here, too
            broke.set()


if __name__ == "__main__":
    main()
