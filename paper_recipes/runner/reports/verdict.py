"""Does a full run give the published values? Missing or non-finite is failure; suspiciously high is a warning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from paper_recipes.recipe import Recipe
from paper_recipes.runner.reports.curves import Curve
from paper_recipes.runner.reports.curves import compare as compare_curves


@dataclass(frozen=True)
class Row:
    metric: str
    expected: float
    tolerance: float
    got: float | None
    provenance: str

    @property
    def verdict(self) -> str:
        if self.got is None or not math.isfinite(self.got):
            return "missing"
        if self.got < self.expected - self.tolerance:
            return "too low"
        return "suspiciously high" if self.got > self.expected + self.tolerance else "as published"

    def shown(self) -> str:
        return "-" if self.got is None else f"{self.got:.2f}"


@dataclass(frozen=True)
class Verdict:
    iteration: int
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...] = ()  # beside the authors' logs, where there are any; told, not judged

    @property
    def passed(self) -> bool:
        return all(row.verdict in ("as published", "suspiciously high") for row in self.rows)


def best_of(recipe: Recipe, evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """The evaluation with the highest headline metric, as the authors chose their checkpoint."""
    first = recipe.expected[0]
    return max(evaluations, key=lambda row: row["metrics"].get(first.test_net, {}).get(first.metric, -math.inf))


def verify(recipe: Recipe, evaluations: list[dict[str, Any]]) -> Verdict | None:
    """Compare the best checkpoint, chosen as the authors chose theirs (headline metric on the test set).

    None where there is nothing to compare: no evaluation, or a recipe without expected values.
    """
    if not evaluations or not recipe.expected:
        return None
    best = best_of(recipe, evaluations)
    rows = tuple(
        Row(
            metric=f"{expected.test_net} {expected.metric}",
            expected=expected.value,
            tolerance=expected.tolerance,
            got=best["metrics"].get(expected.test_net, {}).get(expected.metric),
            provenance=expected.provenance,
        )
        for expected in recipe.expected
    )
    return Verdict(best["iteration"], rows, compare_curves(recipe, evaluations))
