"""The tables, in Markdown, of the runs that are finished."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paper_recipes.recipe import Recipe
from paper_recipes.runner.data import scale as scales
from tools.letters.runs import Run, machines, seeds


def headline(recipe: Recipe) -> str:
    """mAP where a letter is searched under other cameras, which R@1 of few queries says too little of; else R@1."""
    return "mAP" if recipe.evaluation.protocol == "reid" else "R@1"


def value(recipe: Recipe, evaluation: dict[str, Any]) -> float:
    return evaluation["metrics"][recipe.embeddings[0]][headline(recipe)]


def learning(groups: Sequence[Sequence[Recipe]], count: int, out: Path) -> str:
    """Start, end, the seeds' spread and minutes of each group; whether every seed's end is above its start by more than that spread.

    One seed has no spread, and says nothing of the kind.
    """
    rows = []
    for group in groups:
        recipe = group[0]
        done = [run for run in seeds(recipe, count, None) if run.record(out) is not None]
        evaluations = [run.rows(out, "evaluations") for run in done]
        if not evaluations:
            continue
        starts = [value(recipe, rows_[0]) for rows_ in evaluations]
        ends = [value(recipe, rows_[-1]) for rows_ in evaluations]
        start, end, spread = sum(starts) / len(starts), sum(ends) / len(ends), max(ends) - min(ends)
        raw = json.loads((done[0].folder(out) / "raw_pixels.json").read_text(encoding="utf-8"))
        least = min(e - s for s, e in zip(starts, ends))
        learns = "" if len(ends) == 1 else "yes" if least > spread else "no"
        rows.append(
            [
                ", ".join(r.name for r in group),
                headline(recipe),
                str(evaluations[0][-1]["iteration"]),
                f"{raw['metrics']['raw pixels'][headline(recipe)]:.1f}",
                f"{start:.1f}",
                f"{end:.1f}",
                f"{spread:.1f} of {len(ends)}" if len(ends) > 1 else "one seed",
                learns,
                f"{sum(minutes(recipe, run, out) for run in done) / len(done):.1f}",
            ]
        )
    names = ["recipe", "metric", "steps", "raw pixels", "start", "end", "seeds' spread", "learns", "minutes"]
    return markdown(names, rows)


def spread(groups: Sequence[Sequence[Recipe]], out: Path) -> str:
    """The end value under each setting, and how far they are from each other."""
    rows = []
    for (recipe,) in groups:
        found = {
            run.setting: value(recipe, run.rows(out, "evaluations")[-1])
            for run in machines(recipe)
            if run.record(out) is not None
        }
        if found:
            apart = max(found.values()) - min(found.values())
            rows.append(
                [recipe.name, headline(recipe)]
                + [f"{found[run.setting]:.1f}" if run.setting in found else "" for run in machines(recipe)]
                + [f"{apart:.1f}" if len(found) > 1 else ""]
            )
    settings = [run.setting for run in machines(groups[0][0])]
    return markdown(["recipe", "metric", *settings, "apart"], rows)


def minutes(recipe: Recipe, run: Run, out: Path) -> float:
    """What the recipe's run takes: these steps, and as many embedding passes of this length as it has evaluations."""
    timed = run.rows(out, "timings")
    passes = [row["extraction_seconds"] for row in timed if "extraction_seconds" in row]
    evaluations = len(scales.embedded(recipe).evaluations)
    return (sum(row.get("seconds", 0.0) for row in timed) + evaluations * sum(passes) / len(passes)) / 60


def markdown(names: list[str], rows: list[list[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
