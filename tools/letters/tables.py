"""The tables, in Markdown, of the runs that are finished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from paper_recipes.recipe import Recipe
from tools.letters.results import Result
from tools.letters.runs import machines, seeds

#: Two of results.csv's numbers have two decimal places and may be 0.01 off their difference; a gain and a spread are two each.
_ROUNDED = 0.02


def learning(groups: Sequence[Sequence[Recipe]], count: int, results: Sequence[Result]) -> str:
    """Start, end, the seeds' spread and minutes of each group; whether every seed's end is above its start by more than that spread.

    By the recipe's metric, and by MAP@R of the seeds that have it. One seed has no spread, and says nothing of the kind. A seed
    that ran on two machines counts once, on the one that has more of the group's seeds; minutes are means of all that are known.
    """
    rows = []
    for group in groups:
        done = counted(group[0], count, results)
        if not done:
            continue
        also, which = maps(done), {r.setting for r in done}
        timed = [
            r.minutes for r in results if r.recipe == done[0].recipe and r.setting in which and r.minutes is not None
        ]
        rows.append(
            [
                ", ".join(r.name for r in group),
                done[0].metric,
                str(done[0].steps),
                f"{done[0].raw:.1f}",
                *_gain([(result.start, result.end) for result in done]),
                *(_gain(also) if also else [""] * 4),
                f"{sum(timed) / len(timed):.1f}" if timed else "",
                ", ".join(sorted({result.machine for result in done})),
            ]
        )
    names = ["recipe", "metric", "steps", "raw pixels", "start", "end", "seeds' spread", "learns"]
    names += ["MAP@R start", "MAP@R end", "its spread", "learns by it", "minutes", "machine"]
    return markdown(names, rows)


def counted(recipe: Recipe, count: int, results: Sequence[Result]) -> list[Result]:
    """Of each seed one: where it ran on two machines, on the one that has more of them."""
    wanted = {run.setting for run in seeds(recipe, count, None)}
    found = [r for r in results if r.recipe == recipe.name and r.setting in wanted]
    many = Counter(r.machine for r in found)
    return list({r.setting: r for r in sorted(found, key=lambda r: (many[r.machine], r.machine))}.values())


def maps(done: Sequence[Result]) -> list[tuple[float, float]]:
    """(start, end) of those that have MAP@R."""
    return [(r.map_start, r.map_end) for r in done if r.map_start is not None and r.map_end is not None]


def learns(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the least gain, end less start, is above the ends' spread."""
    ends = [end for _, end in pairs]
    return min(end - start for start, end in pairs) - (max(ends) - min(ends)) > _ROUNDED


def _gain(pairs: Sequence[tuple[float, float]]) -> list[str]:
    """Means of starts and of ends, the ends' spread, and whether the least gain of a seed is above it."""
    starts, ends = zip(*pairs)
    several = len(pairs) > 1
    return [
        f"{sum(starts) / len(starts):.1f}",
        f"{sum(ends) / len(ends):.1f}",
        f"{max(ends) - min(ends):.1f} of {len(ends)}" if several else "one seed",
        ("yes" if learns(pairs) else "no") if several else "",
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
