"""What was run: sources, recipe, data, weights, versions. Written beside every result as run.json."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from paper_recipes.recipe import Recipe
from paper_recipes.runner.training import provenance
from ports import determinism


def run_record(
    recipe: Recipe, *, form: str, seed: int, device: str, data: dict[str, Any], weights: dict[str, Any] | None
) -> dict[str, Any]:
    """The record of a run that starts now. `form` is "embedded" or "full"."""
    return {
        "recipe": recipe.name,
        **({"derived_from": recipe.derived_from, "judged": bool(recipe.expected)} if recipe.derived_from else {}),
        "form": form,
        "fingerprint": recipe.fingerprint(),
        "seed": seed,
        "device": device,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.program(),
        "versions": provenance.distributions(),
        "environment": determinism.environment(),
        "data": data,
        "weights": weights,
    }
