"""The chain of evidence: each link of a recipe against its reference, computed each time it is asked for.

weights -> images -> sampler -> network -> loss -> solver -> evaluation, and where the authors' program took them, whole
steps. References are recordings of the authors' own
programs, kept in golden/data. "verified on recorded data" is said of a recording of this very link; "rule verified" where
only the rule could be read, or a recording exists of the nearest sibling alone (the row says which). A link without
either is open and says what would close it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paper_recipes.recipe import Recipe
from paper_recipes.runner.evidence import (
    caffe_links,
    image_links,
    letters_link,
    metric_link,
    sampler_link,
    torch_links,
    weights_link,
)
from paper_recipes.runner.evidence.row import Row


def chain(recipe: Recipe, record: dict[str, Any] | None = None) -> list[dict[str, str]]:
    """One row per link, as cells of a table. `record`: the run.json of a run, whose weights are then judged."""
    caffe = recipe.torch is None
    ours: Any = caffe_links if caffe else torch_links
    links: list[Callable[[Recipe], Row]] = [
        lambda recipe: weights_link.row(recipe, (record or {}).get("weights"), of_run=record is not None),
        *([image_links.resize] if caffe else []),  # the others resize with Pillow itself
        image_links.images if caffe else torch_links.images,
        sampler_link.sampler,
        ours.network,
        ours.loss,
        ours.solver,
        *([letters_link.whole_steps] if letters_link.applies(recipe) else []),
        metric_link.evaluation,
        *([metric_link.reranking] if recipe.evaluation.rerank else []),
    ]
    return [link(recipe).as_cells() for link in links]


def holds(rows: list[dict[str, str]]) -> bool:
    """No link is wrong (links that need the user's data or weights are open, not wrong)."""
    return all(row["verdict"] != "WRONG" for row in rows)
