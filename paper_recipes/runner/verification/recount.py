"""Hits and MAP@R counted again from the embeddings that the last evaluation left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from paper_recipes.runner.files import read_json
from paper_recipes.runner.scoring import insight, saved
from paper_recipes.runner.verification.facts import Facts, rows
from paper_recipes.runner.verification.statement import Unchecked


def wrong(facts: Facts) -> Iterator[str]:
    folder = facts.out / saved.FOLDER
    if not (folder / saved.EVALUATION).is_file():
        raise Unchecked(f"the run kept none ({saved.FOLDER}/{saved.EVALUATION} is not there)")
    iteration = json.loads((folder / saved.EVALUATION).read_text(encoding="utf-8"))["iteration"]
    stated = next((row for row in rows(facts.out, "evaluations") if row["iteration"] == iteration), None)
    if stated is None:
        yield f"{saved.FOLDER} is of iteration {iteration}, which evaluations.jsonl has not"
        return
    from paper_recipes.runner.scoring import scores as scoring  # torch

    queries, gallery, data = saved.load_whole(folder, facts.recipe)
    counted = scoring.score(queries, gallery, data, facts.recipe.evaluation)
    yield from differences(
        stated, counted.as_json(), f"evaluations.jsonl: iteration {iteration}", "the stored embeddings"
    )
    kept = (read_json(facts.out / insight.DISTANCES) or {"rows": []})["rows"]
    of_it: dict[str, Any] = next((row for row in kept if row["iteration"] == iteration), {})
    if "map_at_r" in of_it:  # a run of before there was the number states none
        averages = insight.averages_at_r(insight.headline_sides(facts.recipe, queries, gallery, data))
        said = of_it["map_at_r"]
        if not _close(said, averages):
            found = insight.in_percent(averages)
            yield f"{insight.DISTANCES}: MAP@R at iteration {iteration} is {said}, the stored embeddings give {found}"


def _close(said: float | None, averages: list[float]) -> bool:
    """At most one query's worth apart: a near-tie that another processor decides otherwise moves a query's average by 1 / R, and R may be 1.

    1e-9 of it more, for the rounding of two means.
    """
    if said is None or not averages:
        return said is None and not averages
    return abs(said / 100 * len(averages) - sum(averages)) <= 1 + 1e-9


def differences(
    stated: dict[str, Any], counted: dict[str, Any], where: str, source: str, *, slack: int = 0, near: bool = False
) -> Iterator[str]:
    """Where the hits of one evaluation are not those counted; metrics without a count must agree to nine digits.

    slack: by how many hits they may differ. near: the counts of near-ties too, which hold where the bits are the same.
    """
    if stated["queries"] != counted["queries"]:
        yield f"{where}: {stated['queries']} queries, {source} have {counted['queries']}"
        return
    for name, metrics in counted["metrics"].items():
        for metric, value in metrics.items():
            if (hits := counted["hits"][name].get(metric)) is not None:
                said = stated["hits"][name][metric]
                if abs(said - hits) > slack:
                    yield f"{where}: {name} {metric} says {said} hits of {stated['queries']} queries, {source} give {hits}"
            else:
                said, rounding = stated["metrics"][name][metric], 1e-9 + 100 * slack / max(1, stated["queries"])
                if not np.isclose(said, value, rtol=0, atol=rounding):
                    yield f"{where}: {name} {metric} says {said:.6f}, {source} give {value:.6f}"
    if near and "near" in stated and stated["near"] != counted["near"]:
        yield f"{where}: says near-ties {stated['near']}, {source} give {counted['near']}"
