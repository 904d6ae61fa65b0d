"""NMI and F1 of embeddings, by k-means with as many clusters as test classes.

No two k-means give the same clusters, and these are a library's: a published NMI is held within a band of its own, and only
where `evaluate --clustering` has computed it.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from golden import published
from paper_recipes.recipe import Recipe
from paper_recipes.records import Clustering
from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.files import write_json
from ports import datasets
from ports.metrics import clustering

MOST_IMAGES = 5000  # test images that a run on letters clusters
_UNDEFINED = {"F1": "no two items of a class share a cluster", "rand_index": "there are no two items"}
OTHERS = Clustering(1, 1000, "arithmetic", "this release has no clustering: the rules of Ranked List Loss")


def rules(recipe: Recipe) -> Clustering:
    return recipe.records.clustering or OTHERS


def check(recipe: Recipe) -> None:
    """Raises ValueError for re-identification, which is not scored so, ImportError without scikit-learn."""
    if recipe.evaluation.protocol == "reid":
        raise ValueError(f"--clustering: {recipe.name} is scored by CMC and mAP; nobody clusters persons")
    if importlib.util.find_spec("sklearn") is None:
        raise ImportError("k-means needs scikit-learn: pip install 'dml-ports[cluster]'")


def score(
    recipe: Recipe, queries: dict[str, NDArray[Any]], gallery: dict[str, NDArray[Any]] | None, data: Data
) -> dict[str, dict[str, Any]]:
    """Embedding -> {"NMI", "F1" in percent, "purity", "rand_index", exact pair counts "tp", "fp", "fn", "tn"}.

    A number that the counts leave undefined is None, and "undefined" then has its name and the reason. Queries and gallery are clustered together. Rows are normalised first; the seed of k-means is the recipe's. Raises as
    `check` does.
    """
    check(recipe)
    rule = rules(recipe)
    labels = data.test.labels if data.gallery is None else np.concatenate([data.test.labels, data.gallery.labels])
    classes = len(np.unique(labels))
    results = {}
    for name, values in queries.items():
        x = values if gallery is None else np.concatenate([values, gallery[name]])
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        clusters = clustering.kmeans(x, classes, seed=recipe.seed, n_init=rule.n_init, max_iter=rule.max_iter)
        found = clustering.clustering_metrics(clusters, labels, average=rule.average)
        results[name] = {"NMI": 100 * found.nmi, "F1": 100 * found.f1, "purity": 100 * found.purity}
        results[name] |= {
            "rand_index": found.rand_index,
            "tp": found.tp,
            "fp": found.fp,
            "fn": found.fn,
            "tn": found.tn,
        }
        results[name] = _defined(results[name])
    return results


def _defined(numbers: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN, which F1 is (as released) where no pair of a class shares a cluster, the Rand index of a single item."""
    undefined = {name: _UNDEFINED[name] for name, value in numbers.items() if not math.isfinite(value)}
    return {**numbers, **dict.fromkeys(undefined), **({"undefined": undefined} if undefined else {})}


def at_the_end(
    recipe: Recipe,
    queries: dict[str, NDArray[Any]],
    gallery: dict[str, NDArray[Any]] | None,
    data: Data,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """clustering.json of a run on letters whose release clusters; the authors' own runs cluster in a script apart."""
    if recipe.records.clustering is None or recipe.evaluation.protocol == "reid":
        return
    if len(data.test) > MOST_IMAGES:  # k-means of thousands of classes takes longer than the training
        say(f"NMI and F1 left out of a test set of more than {MOST_IMAGES:,} images: evaluate --clustering has them")
        return
    try:
        results = score(recipe, queries, gallery, data)
    except ImportError as error:
        say(f"NMI and F1 left out: {error}")
        return
    write_json(out / "clustering.json", results)
    name = next(iter(results))
    say(f"clusters: {name} NMI {results[name]['NMI']:.1f}  F1 {_shown(results[name], 'F1', 1)}")


def show(recipe: Recipe, results: dict[str, dict[str, Any]], *, official: bool) -> None:
    """Print NMI and F1 and, on the official data, what the paper printed for that embedding."""
    for name, found in results.items():
        said = published_nmi(recipe, name) if official else None
        beside = f"; the paper printed NMI {said} (by another k-means)" if said is not None else ""
        click.echo(f"{name}: NMI {found['NMI']:.2f}, F1 {_shown(found, 'F1', 2)}, purity {found['purity']:.2f}{beside}")
    click.echo(f"clusters: k-means, {rules(recipe).origin}")


def _shown(found: dict[str, Any], name: str, digits: int) -> str:
    return f"undefined ({found['undefined'][name]})" if found[name] is None else f"{found[name]:.{digits}f}"


def published_nmi(recipe: Recipe, embedding: str) -> float | None:
    """The NMI that the recipe's paper printed for its own method and that embedding on this data set; None: none known."""
    records, arxiv = recipe.records, recipe.source.paper.rsplit(" ", 1)[-1]
    for row in published.rows(dataset=datasets.describe(recipe.dataset).title, kind="published"):
        own = (
            arxiv in row["paper"]
            and row["method"] == records.method
            and row["variant"] == records.variants.get(embedding)
        )
        if own and "NMI" in row["metric"]:
            return float(row["metric"]["NMI"])
    return None
