"""Does a letters run end where letters runs of this recipe end on every machine? A check of an installation, not of the paper.

The band is a recipe's own (`Embedded.band`), recorded with one and two threads, several instruction sets and in float64. It holds for the
letters form as it is frozen; a run with other settings is not held to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paper_recipes.letters_start import packing
from paper_recipes.recipe import Band, Recipe
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.scoring.verdict import ROUNDING

WITHIN, OUTSIDE = "within the letters band", "outside the letters band"


@dataclass(frozen=True)
class Checked:
    band: Band
    got: float  # percent

    @property
    def passed(self) -> bool:
        return abs(self.got - self.band.value) <= self.band.tolerance + ROUNDING

    @property
    def word(self) -> str:
        return WITHIN if self.passed else OUTSIDE

    @property
    def sentence(self) -> str:
        """What came of it, for people."""
        band = self.band
        held = f"({band.metric} {band.value:g} ± {band.tolerance:g}, recorded on {band.recorded})"
        what = "a check of this installation, not of the paper's number"
        return f"{self.word}: {band.metric} {self.got:.1f} {held}; {what}"


def check(recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]]) -> Checked | None:
    """Of a finished run, from its record and evaluations. None where it is not held to the band, or there is none."""
    band = recipe.embedded.band
    if band is None or not evaluations or recipe.derived_from or record["form"] != "embedded":
        return None
    frozen = scales.as_json(scales.embedded(recipe))
    if record["plan"] != frozen or record["seed"] != recipe.seed or record["replicas"] is not None:
        return None
    if not packing.is_start(record["weights"]) or evaluations[-1]["iteration"] != frozen["iterations"]:
        return None
    value = evaluations[-1]["metrics"].get(recipe.embeddings[0], {}).get(band.metric)
    return None if value is None else Checked(band, value)
