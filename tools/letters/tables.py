"""The tables, in Markdown, of the runs that are finished."""

from __future__ import annotations

from collections.abc import Sequence

from paper_recipes.recipe import Recipe
from tools.letters.results import Result
from tools.letters.runs import machines, seeds


def learning(groups: Sequence[Sequence[Recipe]], count: int, results: Sequence[Result]) -> str:
    """Start, end, the seeds' spread and minutes of each group; whether every seed's end is above its start by more than that spread.

    By the recipe's metric, and by MAP@R of the seeds that have it. One seed has no spread, and says nothing of the kind. A seed
    that ran on two machines counts once.
    """
    rows = []
    for group in groups:
        recipe = group[0]
        wanted = {run.setting for run in seeds(recipe, count, None)}
        found = {r.setting: r for r in results if r.recipe == recipe.name and r.setting in wanted}
        done = list(found.values())
        if not done:
            continue
        maps = [(r.map_start, r.map_end) for r in done if r.map_start is not None and r.map_end is not None]
        timed = [result.minutes for result in done if result.minutes is not None]
        rows.append(
            [
                ", ".join(r.name for r in group),
                done[0].metric,
                str(done[0].steps),
                f"{done[0].raw:.1f}",
                *_gain([(result.start, result.end) for result in done]),
                *(_gain(maps) if maps else [""] * 4),
                f"{sum(timed) / len(timed):.1f}" if timed else "",
            ]
        )
    names = ["recipe", "metric", "steps", "raw pixels", "start", "end", "seeds' spread", "learns"]
    names += ["MAP@R start", "MAP@R end", "its spread", "learns by it", "minutes"]
    return markdown(names, rows)


def _gain(pairs: Sequence[tuple[float, float]]) -> list[str]:
    """Means of starts and of ends, the ends' spread, and whether the least gain of a seed is above it."""
    starts, ends = zip(*pairs)
    spread = max(ends) - min(ends)
    least = min(end - start for start, end in pairs)
    several = len(pairs) > 1
    return [
        f"{sum(starts) / len(starts):.1f}",
        f"{sum(ends) / len(ends):.1f}",
        f"{spread:.1f} of {len(ends)}" if several else "one seed",
        ("yes" if least > spread else "no") if several else "",
    ]


def spread(groups: Sequence[Sequence[Recipe]], results: Sequence[Result]) -> str:
    """The end value under each setting on each machine, and how far a recipe's are from each other."""
    settings = [run.setting for run in machines(groups[0][0])]
    rows = []
    for (recipe,) in groups:
        found = {(r.machine, r.setting): r for r in results if r.recipe == recipe.name and r.setting in settings}
        ends = [result.end for result in found.values()]
        for machine in sorted({machine for machine, _ in found}):
            cells = [found.get((machine, setting)) for setting in settings]
            metric = next(result.metric for result in found.values())
            rows.append(
                [recipe.name, metric, machine]
                + ["" if result is None else f"{result.end:.1f}" for result in cells]
                + [f"{max(ends) - min(ends):.1f}" if len(ends) > 1 else ""]
            )
    return markdown(["recipe", "metric", "machine", *settings, "apart"], rows)


def markdown(names: list[str], rows: list[list[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
