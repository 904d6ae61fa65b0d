"""What finished runs came to: of an --out folder, and of earlier ones on other machines in results.csv, a line for each run."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner.data import scale as scales
from ports.files import atomic_path
from tools.letters.runs import Run

PATH = Path(__file__).with_name("results.csv")
DIGITS = 16  # of a fingerprint
_PERCENTS, _MAPS = ("raw", "start", "end"), ("map_start", "map_end")


@dataclass(frozen=True)
class Result:
    recipe: str
    setting: str
    machine: str  # the processor's name, or the GPU's where it ran on one
    date: str
    metric: str
    steps: int
    raw: float  # the metric of raw pixels, percent
    start: float
    end: float
    minutes: float | None  # of a processor; None: on a GPU, or it was stopped meanwhile
    fingerprint: str  # the recipe's, its first digits
    map_start: float | None = None  # MAP@R, percent; None: the run is older than the number
    map_end: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.recipe, self.setting, self.machine


def headline(recipe: Recipe) -> str:
    """mAP where a letter is searched under other cameras, which R@1 of few queries says too little of; else R@1."""
    return "mAP" if recipe.evaluation.protocol == "reid" else "R@1"


def of(recipe: Recipe, run: Run, out: Path) -> Result | None:
    """None: not finished in this folder."""
    record = run.record(out)
    if record is None:
        return None
    metric = headline(recipe)
    evaluations = run.rows(out, "evaluations")
    start, end = (evaluations[i]["metrics"][recipe.embeddings[0]][metric] for i in (0, -1))
    raw = json.loads((run.folder(out) / "raw_pixels.json").read_text(encoding="utf-8"))["metrics"]["raw pixels"][metric]
    on_gpu = str(record["device"]).startswith("cuda")
    machine, day = record["environment"]["gpu" if on_gpu else "processor"], record["started"][:10]
    steps, took = evaluations[-1]["iteration"], None if on_gpu else minutes(recipe, run, out)
    fingerprint = recipe.fingerprint()[:DIGITS]
    seen = json.loads((run.folder(out) / "distances.json").read_text(encoding="utf-8"))["rows"]
    maps = [seen[i].get("map_at_r") for i in (0, -1)]
    return Result(recipe.name, run.setting, machine, day, metric, steps, raw, start, end, took, fingerprint, *maps)


def minutes(recipe: Recipe, run: Run, out: Path) -> float:
    """What the recipe's run takes: these steps, and as many embedding passes of this length as it has evaluations."""
    timed = run.rows(out, "timings")
    passes = [row["extraction_seconds"] for row in timed if "extraction_seconds" in row]
    evaluations = len(scales.embedded(recipe).evaluations)
    return (sum(row.get("seconds", 0.0) for row in timed) + evaluations * sum(passes) / len(passes)) / 60


def recorded(path: Path) -> list[Result]:
    with open(path, encoding="utf-8", newline="") as file:
        return [_typed(row) for row in csv.DictReader(file)]


def _typed(row: dict[str, Any]) -> Result:
    numbers = {name: float(row[name]) for name in _PERCENTS}
    maybe = {name: float(row[name]) if row[name] else None for name in ("minutes", *_MAPS)}
    return Result(**{**row, **numbers, **maybe, "steps": int(row["steps"])})


def current(found: Iterable[Result]) -> tuple[list[Result], list[Result]]:
    """Those of recipes as they are now, and those of recipes that have changed since or are no more."""
    now = {name: recipe.fingerprint()[:DIGITS] for name, recipe in registry.RECIPES.items()}
    parts: tuple[list[Result], list[Result]] = [], []
    for result in found:
        parts[now.get(result.recipe) != result.fingerprint].append(result)
    return parts


def merged(old: Iterable[Result], new: Iterable[Result]) -> list[Result]:
    """Sorted; the same run on the same machine is the new one."""
    return sorted({result.key: result for result in (*old, *new)}.values(), key=lambda result: result.key)


def record(results: Iterable[Result], path: Path) -> None:
    with atomic_path(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        for result in results:
            percents = {name: _text(getattr(result, name), 2) for name in (*_PERCENTS, *_MAPS)}
            writer.writerow({**asdict(result), **percents, "minutes": _text(result.minutes, 1)})


def _text(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"
