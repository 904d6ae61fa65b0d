"""Does a full run give the published values? Each is within its band, below or above it; only within is success.

Above is none, because what a mistake raises (a test class among the training classes, the query among its own neighbours,
weights that have seen the test set) looks like a better method. Recalls are taken from their exact counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from paper_recipes.recipe import Expected, Recipe
from paper_recipes.runner.scoring.curves import Curve
from paper_recipes.runner.scoring.curves import compare as compare_curves

WITHIN, BELOW, ABOVE, MISSING = "within the band", "below the band", "above the band", "missing"
MISCOUNTED = "not what its count says"
REPRODUCED, NOT_REPRODUCED, HIGHER, NOT_COMPARABLE = (
    "reproduced",
    "not reproduced",
    "higher than published",
    "not comparable",
)
CHECK = "check split, weights and protocol"
# The bands are decimal numbers, and 100 * hits / queries is two roundings of numbers up to 100 in double precision.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Row:
    """One expected value, in percent. `hits` of `queries` where the metric counts queries, as recalls do."""

    metric: str
    expected: float
    tolerance: float
    got: float | None
    provenance: str
    hits: int | None = None
    queries: int | None = None

    @property
    def verdict(self) -> str:
        if self.got is None or not math.isfinite(self.got):
            return MISSING
        if self.hits is not None and self.queries:
            if abs(100 * self.hits / self.queries - self.got) > ROUNDING:
                return MISCOUNTED
        elif "R@" in self.metric:
            return MISCOUNTED  # a recall without its count is no measurement
        if self.got < self.expected - self.tolerance - ROUNDING:
            return BELOW
        return ABOVE if self.got > self.expected + self.tolerance + ROUNDING else WITHIN

    def shown(self) -> str:
        if self.got is None:
            return "-"
        return f"{self.got:.2f}" + (f" ({self.hits:,} of {self.queries:,})" if self.hits is not None else "")


@dataclass(frozen=True)
class Verdict:
    """`objection`: why the run may not be held to published values at all, or ""."""

    iteration: int
    rows: tuple[Row, ...]
    curves: tuple[Curve, ...] = ()  # beside the authors' logs, where there are any; told, not judged
    objection: str = ""

    @property
    def passed(self) -> bool:
        return self.word == REPRODUCED

    @property
    def word(self) -> str:
        """ "reproduced" | "not reproduced" | "higher than published" | "not comparable"."""
        verdicts = {row.verdict for row in self.rows}
        if self.objection:
            return NOT_COMPARABLE
        if verdicts <= {WITHIN}:
            return REPRODUCED
        return HIGHER if verdicts <= {WITHIN, ABOVE} else NOT_REPRODUCED

    @property
    def sentence(self) -> str:
        """The word, and what follows from it."""
        if self.word == HIGHER:
            return f"{HIGHER}: {CHECK}"
        return f"{NOT_COMPARABLE}: {self.objection}" if self.objection else self.word

    @property
    def within(self) -> int:
        """How many of the rows are within their band."""
        return sum(row.verdict == WITHIN for row in self.rows)


def best_of(recipe: Recipe, evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """The evaluation with the highest headline metric, as the authors chose their checkpoint; before training only where it is alone."""
    first = recipe.expected[0]
    trained = [row for row in evaluations if row["iteration"] > 0] or evaluations
    return max(trained, key=lambda row: row["metrics"].get(first.embedding, {}).get(first.metric, -math.inf))


def verify(recipe: Recipe, evaluations: list[dict[str, Any]], *, objection: str = "") -> Verdict | None:
    """Compare the best checkpoint, chosen as the authors chose theirs (headline metric on the test set).

    `objection`: why the run cannot be compared with what was published, whatever its numbers are.
    None where there is nothing to compare: no evaluation, or a recipe without expected values.
    """
    if not evaluations or not recipe.expected:
        return None
    best = best_of(recipe, evaluations)
    # k-means of a full test set takes hours, so NMI is held where `evaluate --clustering` has computed it.
    clusters = best.get("clustering")
    held = [e for e in recipe.expected if e.metric != "NMI" or clusters is not None]
    rows = tuple(
        Row(
            metric=f"{expected.embedding} {expected.metric}",
            expected=expected.value,
            tolerance=expected.tolerance,
            got=_value(best, clusters, expected),
            provenance=expected.provenance,
            hits=best.get("hits", {}).get(expected.embedding, {}).get(expected.metric),
            queries=best.get("queries"),
        )
        for expected in held
    )
    return Verdict(best["iteration"], rows, compare_curves(recipe, evaluations), objection)


def _value(best: dict[str, Any], clusters: dict[str, Any] | None, expected: Expected) -> float | None:
    metrics = (clusters or {}) if expected.metric == "NMI" else best["metrics"]
    return metrics.get(expected.embedding, {}).get(expected.metric)
