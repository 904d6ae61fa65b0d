"""What the authors' own program reached on the letters from the same seeded weights: drawn beside a run from them, held to nothing.

A free run in float32 is reproducible by nobody (golden/data/letters; docs/letters.md).
"""

from __future__ import annotations

import json
from typing import Any

import golden
from paper_recipes.recipe import Recipe


def recalls(recipe: Recipe, record: dict[str, Any]) -> list[tuple[int, float]]:
    """(iteration, R@1 in percent) of the headline embedding; empty where the run is another one or nothing was recorded."""
    path = golden.DATA / "letters" / recipe.name / "manifest.json"
    if record["form"] != "embedded" or record.get("weights") is not None or not path.is_file():
        return []
    recorded = json.loads(path.read_text(encoding="utf-8"))
    hits = recorded.get("hits")
    if hits is None or record.get("seed") != recorded["seed"]:
        return []
    return [(int(at), 100 * row["R@1"] / hits["queries"]) for at, row in hits.items() if at != "queries"]
