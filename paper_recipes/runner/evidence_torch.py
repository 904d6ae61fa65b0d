"""Links of PyTorch recipes: network, loss, solver, and the Python originals' evaluation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import golden
from golden.checker import check
from paper_recipes.recipe import Recipe, Torch
from paper_recipes.runner.evidence import Row, open_link, recorded
from paper_recipes.runner.networks import made
from ports import losses
from ports.metrics import originals

# loss as a recipe writes it -> the golden set that was recorded from that file with those arguments
_SETS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"class": "MultiSimilarityLoss", "alpha": 2.0, "beta": 40.0, "base": 0.5, "epsilon": 0.1}, "ms"),
    ({"class": "ContrastiveLoss", "margin": 0.5}, "contrastive-deep-metric"),
    ({"class": "BatchAllLoss", "margin": 0.2}, "batch-all"),
    ({"class": "SemiHardLoss", "alpha": 40.0, "beta": 2.0}, "semi-hard"),
    ({"class": "LiftedStructureLoss", "alpha": 40.0, "beta": 2.0}, "lifted"),
    ({"class": "BinomialDevianceLoss", "alpha": 40.0, "margin": 0.5}, "binomial"),
)
# K of Deep_Metric's recorded runs, by its name of the data set
_DM_KS = {"cub": (1, 2, 4, 8, 16, 32), "shop": (1, 10, 20, 30, 40, 50)}


def the_torch(recipe: Recipe) -> Torch:
    if recipe.torch is None:
        raise ValueError(f"{recipe.name} is a Caffe recipe")
    return recipe.torch


def network(recipe: Recipe) -> Row:
    """Forward recordings of these backbones are checked in tests/ports; their weights are too large for every chain."""
    name = the_torch(recipe).backbone["class"]
    return open_link(
        "network", f"authors' {name}", "not part of the chain: tests/ports holds BN-Inception to recordings"
    )


def loss(recipe: Recipe) -> Row:
    """Value and gradient on the recorded batches of the release's own loss file, float64."""
    description, reference = the_torch(recipe).loss, "authors' loss file in PyTorch"
    name = next((name for known, name in _SETS if known == description), None)
    if name is None:
        return open_link("loss", reference, f"no recording of {description['class']} with these arguments")
    report = check(made(_classes(description), description), name, properties=False, diagnosis=False)
    worst = max(max(row.loss_error, row.gradient_error) for row in report.rows)
    compared = f"{name}: {len(report.rows)} batches, value and gradient, float64, in units of the tolerance"
    return recorded("loss", reference, compared, worst, 1.0)


def _classes(description: dict[str, Any]) -> dict[str, Any]:
    return {description["class"]: getattr(losses, description["class"])}


def solver(recipe: Recipe) -> Row:
    name = the_torch(recipe).optimizer["class"]
    return open_link("solver", f"torch.optim.{name}", "nothing ported: the release calls the same optimiser")


def evaluation(recipe: Recipe) -> Row:
    """Hit counts of every recorded run of the release's evaluation function that did not crash."""
    rule, reference = recipe.evaluation.rule, "authors' recall in Python"
    if rule not in ("ret_metric_recall", "deep_metric_recall"):
        return open_link("evaluation", reference, "no recording of this rule in golden/data")
    wrong, runs = 0, 0
    for path in sorted((golden.DATA / "metrics" / "python" / "evaluation").glob("*.npz")):
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(path) as z:
            expected = _recorded_counts(rule, record, "query" in z)
            if expected is None:
                continue
            where = {"gallery": z["gallery"], "gallery_labels": z["gallery_labels"]} if "query" in z else {}
            x, y = (z["query"], z["query_labels"]) if where else (z["features"], z["labels"])
            hits = getattr(originals, rule)(x, y, list(expected), **where).hits
        wrong += sum(hits[k] != round(share * len(y)) for k, share in expected.items())
        runs += 1
    return recorded("evaluation", reference, f"hit counts of {runs} recorded runs: how many differ", wrong, 0.0)


def _recorded_counts(rule: str, record: dict[str, Any], has_gallery: bool) -> dict[int, float] | None:
    """K -> share of hits; None where the original crashed."""
    if rule == "ret_metric_recall":
        found = {int(k): value for k, value in record["rb_RetMetric"].items()}
        return None if any(isinstance(value, str) for value in found.values()) else found
    key, ks = ("dm_recall_shop", "shop") if has_gallery else ("dm_recall_cub_minus_eye", "cub")
    values = record[key]
    return None if isinstance(values, str) else dict(zip(_DM_KS[ks], values))
