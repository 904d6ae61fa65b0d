"""The chain of evidence: each link of a recipe against its reference, computed each time it is asked for.

weights -> images -> sampler -> network -> loss -> solver -> evaluation. References are recordings of the authors' own
programs, kept in golden/data. "verified on recorded data" is said of a recording of this very link; "rule verified" where
only the rule could be read, or a recording exists of the nearest sibling alone (the row says which). A link without
either is open and says what would close it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from paper_recipes.recipe import Recipe

HOLDS = ("verified on recorded data", "rule verified")


@dataclass(frozen=True)
class Row:
    link: str
    reference: str
    compared: str
    worst: float | None
    tolerance: float | None
    verdict: str

    def as_cells(self) -> dict[str, str]:
        return {
            "link": self.link,
            "reference": self.reference,
            "compared": self.compared,
            "worst error": "-" if self.worst is None else f"{self.worst:.2g}",
            "tolerance": "-" if self.tolerance is None else f"{self.tolerance:.0e}" if self.tolerance else "0",
            "verdict": self.verdict,
        }


def recorded(link: str, reference: str, compared: str, worst: float, tolerance: float) -> Row:
    """A link that was compared with a recording: verified, or wrong by how much."""
    good = math.isfinite(worst) and worst <= tolerance
    return Row(link, reference, compared, worst, tolerance, "verified on recorded data" if good else "WRONG")


def rule_checked(link: str, reference: str, compared: str, worst: float, tolerance: float) -> Row:
    """A link whose own recording does not exist: held to the rule that was read, or to the nearest recording there is."""
    row = recorded(link, reference, compared, worst, tolerance)
    return row if row.verdict == "WRONG" else replace(row, verdict="rule verified")


def open_link(link: str, reference: str, missing: str) -> Row:
    return Row(link, reference, "-", None, None, missing)


def chain(recipe: Recipe) -> list[dict[str, str]]:
    """One row per link, as cells of a table."""
    from paper_recipes.runner import evidence_caffe, evidence_data, evidence_metrics, evidence_samplers, evidence_torch

    caffe = recipe.torch is None
    ours: Any = evidence_caffe if caffe else evidence_torch
    links: list[Callable[[Recipe], Row]] = [
        evidence_data.weights,
        *([evidence_data.resize] if caffe else []),  # the others resize with Pillow itself
        evidence_data.images if caffe else evidence_torch.images,
        evidence_samplers.sampler,
        ours.network,
        ours.loss,
        ours.solver,
        evidence_metrics.evaluation,
    ]
    return [link(recipe).as_cells() for link in links]


def holds(rows: list[dict[str, str]]) -> bool:
    """No link is wrong (links that need the user's data or weights are open, not wrong)."""
    return all(row["verdict"] != "WRONG" for row in rows)
