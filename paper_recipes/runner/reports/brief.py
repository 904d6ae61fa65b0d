"""`compare --brief`: one line for each run, what it began with and what it came to."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from paper_recipes import registry
from paper_recipes.runner import run_files
from paper_recipes.runner.data.scale import in_words
from paper_recipes.runner.files import read_json
from paper_recipes.runner.reports.compare import no_evaluation, open_run
from paper_recipes.runner.verification import marks

HEADER = [
    *("recipe", "form", "data", "batch", "iterations", "embedding"),
    *("R@1 raw pixels", "R@1 start", "R@1", "mAP", "NMI", "s/iteration"),
]


def table(runs: list[Path]) -> tuple[list[str], list[list[str]]]:
    """Header and cells. R@1, mAP and NMI in percent, of the last evaluation's headline embedding; seconds: the median.

    A cell is empty where the run has no such number: raw pixels and NMI are of runs on letters, "start" is an evaluation
    before the first step. A run without an evaluation says so. Raises RunError for a folder that holds no run.
    """
    lines = []
    for out in runs:
        with run_files.fitting(out):
            lines.append(_line(out))
    return HEADER, lines


def _line(out: Path) -> list[str]:
    record, evaluations = open_run(out)
    recipe = registry.get(record["recipe"])
    headline, mark = recipe.embeddings[0], marks.of_run(out).words
    nothing: dict[str, Any] = {"iteration": "", "metrics": {headline: {}}}
    first, last = (evaluations[0], evaluations[-1]) if evaluations else (nothing, nothing)
    mark = mark if evaluations else no_evaluation(record, mark)
    raw, clusters = read_json(out / "raw_pixels.json"), read_json(out / "clustering.json")
    seconds = [row["seconds"] for row in run_files.read(out, "timings") if "seconds" in row]
    return [
        recipe.name,
        ", ".join(filter(None, (in_words(record["form"]), mark))),
        record["data"]["name"],
        str(record.get("batch", "")),
        str(last["iteration"]),
        headline,
        _percent(None if raw is None else raw["metrics"]["raw pixels"].get("R@1")),
        _percent(first["metrics"][headline].get("R@1") if first["iteration"] == 0 else None),
        _percent(last["metrics"][headline].get("R@1")),
        _percent(last["metrics"][headline].get("mAP")),
        _percent(None if clusters is None else clusters[headline]["NMI"]),
        f"{statistics.median(seconds):.2f}" if seconds else "",
    ]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
