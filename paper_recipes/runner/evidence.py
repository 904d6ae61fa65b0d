"""The chain of evidence: each link of a recipe against its reference, computed each time it is asked for.

weights -> images -> sampler -> network -> loss -> solver -> evaluation. References are recordings of the authors' own
programs, kept in golden/data; where a recipe has none, the link says so and what would close it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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


def open_link(link: str, reference: str, missing: str) -> Row:
    return Row(link, reference, "-", None, None, missing)


def chain(recipe: Recipe) -> list[dict[str, str]]:
    """One row per link, as cells of a table."""
    from paper_recipes.runner import evidence_caffe, evidence_data, evidence_torch

    ours: Any = evidence_caffe if recipe.torch is None else evidence_torch
    python_rule = recipe.evaluation.rule != "recall_at_k"
    links: list[Callable[[Recipe], Row]] = [
        evidence_data.weights,
        *([evidence_data.resize] if recipe.torch is None else []),  # the others resize with Pillow itself
        evidence_data.images,
        evidence_data.sampler,
        ours.network,
        ours.loss,
        ours.solver,
        evidence_torch.evaluation if python_rule else evidence_data.evaluation,
    ]
    return [link(recipe).as_cells() for link in links]


def holds(rows: list[dict[str, str]]) -> bool:
    """No link is wrong (links that need the user's data or weights are open, not wrong)."""
    return all(row["verdict"] != "WRONG" for row in rows)
