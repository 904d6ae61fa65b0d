"""Recall over the iterations, the authors' logs beside a full run's evaluations.

The releases of RLL (TPAMI) and OSM+CAA hold a text file per test net with a line per scored checkpoint; they are the rows of kind
"repo log" among the published numbers. A run is compared checkpoint by checkpoint; its exit code obeys the expected values alone,
because runs that end alike may part by more than the band while the learning rate is high. Imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden import published
from paper_recipes.recipe import Recipe
from paper_recipes.runner import run_files
from paper_recipes.runner.data.scale import in_words

# Four of SOP's files begin with a line that stands before the series and is of another checkpoint or run.
_OUT_OF_ORDER = "out-of-order"


@dataclass(frozen=True)
class Point:
    """One line of a log: percent by metric, such as {"R@1": 55.3}."""

    iteration: int
    metrics: dict[str, float]
    source: str


@dataclass(frozen=True)
class Row:
    """One checkpoint and metric, in percent; `ours` is None where the run has no such number."""

    iteration: int
    ours: float | None
    theirs: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Ours minus theirs in points; NaN where ours is missing."""
        return math.nan if self.ours is None else self.ours - self.theirs

    @property
    def verdict(self) -> str:
        if not math.isfinite(self.difference):
            return "missing"
        if abs(self.difference) <= self.tolerance + 1e-9:  # binary fractions of decimal numbers
            return "as logged"
        return "too low" if self.difference < 0 else "higher"


@dataclass(frozen=True)
class Curve:
    """One metric of one test net over the iterations that the authors logged."""

    embedding: str
    metric: str
    rows: tuple[Row, ...]

    @property
    def off(self) -> tuple[Row, ...]:
        """The checkpoints that differ by more than the recipe's tolerance, or are missing."""
        return tuple(row for row in self.rows if row.verdict != "as logged")

    @property
    def holds(self) -> bool:
        return not self.off

    @property
    def worst(self) -> Row | None:
        """The largest difference; None if every checkpoint is missing."""
        scored = [row for row in self.rows if row.verdict != "missing"]
        return max(scored, key=lambda row: abs(row.difference), default=None)

    @property
    def worst_words(self) -> str:
        return "-" if self.worst is None else f"{self.worst.difference:+.1f} at {self.worst.iteration}"

    @property
    def summary(self) -> str:
        """The verdict in words, naming the iterations that differ."""
        if self.holds:
            return "as logged"
        words = []
        for verdict in ("missing", "too low", "higher"):
            iterations = [str(row.iteration) for row in self.off if row.verdict == verdict]
            if iterations:
                words.append(f"{verdict} at {', '.join(iterations)}")
        return "; ".join(words)


def logged(recipe: Recipe) -> dict[str, list[Point]]:
    """The authors' log of a recipe by embedding, in the order of the iterations; empty where no log is known."""
    found: dict[str, list[Point]] = {}
    for net, log in recipe.records.logs.items():
        points = [
            Point(row["iteration"], row["metric"], row["source"].split(", ")[0])
            for row in published.rows(kind="repo log")
            if row["source"].startswith(f"{log.file} line")
            and log.only in row["variant"]
            and _OUT_OF_ORDER not in row["variant"]
        ]
        found[net] = sorted(points, key=lambda point: point.iteration)
    return found


def compare(recipe: Recipe, evaluations: list[dict[str, Any]]) -> tuple[Curve, ...]:
    """A curve per test net and metric of the authors' log; `evaluations` are the lines of a run's evaluations.jsonl.

    The tolerance is the recipe's for that net and metric (where it has none: its largest); how far the authors' own
    checkpoints scatter went into it, see the recipe.
    """
    scored = {row["iteration"]: row["metrics"] for row in evaluations}
    band = {(e.embedding, e.metric): e.tolerance for e in recipe.expected}
    found = []
    for net, points in logged(recipe).items():
        for metric in sorted({key for point in points for key in point.metrics}, key=_order):
            rows = tuple(
                Row(
                    point.iteration,
                    scored.get(point.iteration, {}).get(net, {}).get(metric),
                    point.metrics[metric],
                    band.get((net, metric), max(band.values(), default=0.0)),
                )
                for point in points
                if metric in point.metrics
            )
            found.append(Curve(net, metric, rows))
    return tuple(found)


def of_run(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a full run of the recipe. Raises ValueError for any other folder."""
    record = run_files.record(folder)
    if record["recipe"] != recipe.name:
        raise ValueError(f"{folder} is a run of {record['recipe']}, not of {recipe.name}")
    if record["form"] != "full":
        raise ValueError(
            f"{folder}: only a full run is compared with the authors' log, this one is of the {in_words(record['form'])} form"
        )
    evaluations = run_files.read(folder, "evaluations")
    if not evaluations:
        raise ValueError(f"{folder}: the run has no evaluation yet")
    return evaluations


def _order(metric: str) -> tuple[bool, int]:
    """Recalls by K, then mAP."""
    return (False, int(metric[2:])) if metric.startswith("R@") else (True, 0)


def headline(curve: Curve) -> bool:
    """Whether a picture and a short table show it: recall@1 and mAP."""
    return curve.metric in ("R@1", "mAP")


def as_markdown(found: tuple[Curve, ...]) -> str:
    """Verdict of every curve with its worst difference, then the checkpoints of recall@1 and mAP."""
    lines = ["| embedding | metric | checkpoints | worst difference | verdict |", "|---|---|---|---|---|"]
    for curve in found:
        lines.append(
            f"| {curve.embedding} | {curve.metric} | {len(curve.rows)} | {curve.worst_words} | {curve.summary} |"
        )
    for curve in filter(headline, found):
        lines += ["", f"{curve.embedding} {curve.metric} (band ±{curve.rows[0].tolerance:g} points)", ""]
        lines += ["| iteration | ours | theirs | difference | verdict |", "|---|---|---|---|---|"]
        for row in curve.rows:
            ours = "-" if row.ours is None else f"{row.ours:.1f}"
            difference = f"{row.difference:+.1f}" if math.isfinite(row.difference) else "-"
            lines.append(f"| {row.iteration} | {ours} | {row.theirs:.1f} | {difference} | {row.verdict} |")
    return "\n".join(lines)


def log_as_markdown(recipe: Recipe) -> str:
    """The authors' log alone."""
    lines = []
    for net, points in logged(recipe).items():
        metrics = sorted({key for point in points for key in point.metrics}, key=_order)
        file = points[0].source.rsplit(" line", 1)[0]
        lines += [
            "",
            f"{net}: {file}",
            "",
            "| iteration | " + " | ".join(metrics) + " |",
            "|---" * (len(metrics) + 1) + "|",
        ]
        for point in points:
            values = (f"{point.metrics[key]:.1f}" if key in point.metrics else "" for key in metrics)
            lines.append(f"| {point.iteration} | " + " | ".join(values) + " |")
    return "\n".join(lines[1:])
