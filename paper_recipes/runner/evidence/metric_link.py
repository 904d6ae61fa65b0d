"""The evaluation link: the recipe's metric on every recorded run of the authors' evaluation code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import golden
from paper_recipes.recipe import Recipe
from paper_recipes.runner.evidence.row import Row, recorded, rule_checked, unverified
from ports.metrics import originals, reid
from ports.metrics.binary import hamming_recall_at_k
from ports.metrics.reranking import k_reciprocal_distance
from ports.metrics.retrieval import recall_at_k

_MATLAB = golden.DATA / "metrics" / "matlab"
_PYTHON = golden.DATA / "metrics" / "python" / "evaluation"
_AS_THEY_ARE: dict[str, Any] = {
    "normalize": False
}  # these records are searches of the rows as stored, some not of unit norm
# K of Deep_Metric's recorded runs, by its name of the data set
_DM_KS = {"cub": (1, 2, 4, 8, 16, 32), "shop": (1, 10, 20, 30, 40, 50)}


def evaluation(recipe: Recipe) -> Row:
    """Counts must be equal, ties and singletons included."""
    facts = recipe.evaluation
    if facts.protocol == "reid":
        return _reid(recipe)
    if facts.rule != "recall_at_k":
        wrong, runs = _counted(facts.rule, getattr(originals, facts.rule))
        return _row("authors' recall in Python", wrong, runs)
    if facts.binary:
        return _classification()
    if facts.ties == "optimistic":
        return _optimistic()
    name = "inshop_recall_at_K" if facts.protocol == "query-gallery" else "recall_at_K"
    cases = sorted(_MATLAB.glob(f"{name}_*.npz"))
    wrong = 0
    for path in cases:
        with np.load(path) as z:
            wrong += _wrong_counts(z)
    reference = "compute_recall_at_K.m" if name == "recall_at_K" else "recall of In-shop's .m script"
    return _row(f"authors' {reference}", wrong, len(cases))


def _row(reference: str, wrong: int, runs: int) -> Row:
    return recorded("evaluation", reference, f"hit counts of {runs} recorded runs: how many differ", wrong, 0.0)


def _wrong_counts(z: Any) -> int:
    ks = [int(k) for k in z["K"]]
    x, y = z["features"], z["class_ids"]
    queries = int(z["query_num"][0]) if "query_num" in z else len(y)
    gallery = {"gallery": x[queries:], "gallery_labels": y[queries:]} if queries < len(y) else {}
    hits = recall_at_k(x[:queries], y[:queries], ks, ties="matlab", **gallery).hits
    return sum(hits[k] != round(float(recall) * queries) for k, recall in zip(ks, z["recall"]))


def _reid(recipe: Recipe) -> Row:
    """CMC and mAP on the recorded runs of MARS's evaluation; for the others the same code under their own settings.

    1e-14: the original adds up differences of recall, ours divides once.
    """
    worst, cases = 0.0, sorted(_MATLAB.glob("mars_*.npz"))
    for path in cases:
        with np.load(path) as z:
            query, y, cams = z["query_IDX_1based"] - 1, z["labels"], z["cams"]
            result = reid.evaluate(z["score_matrix"].T, y[query], y, query_cams=cams[query], gallery_cams=cams)
            errors = [np.abs(result.cmc - z["CMC"]).max(), abs(result.mean_ap - float(z["mAP"][0]))]
            worst = max(worst, *map(float, errors))
    reference = "authors' evaluation_mars.m and compute_AP.m"
    compared = f"CMC and mAP of {len(cases)} recorded runs"
    if recipe.records.evaluation:
        return recorded("evaluation", reference, compared, worst, 1e-14)
    return rule_checked(
        "evaluation", reference, f"{compared} of MARS; {recipe.dataset}'s own are not recorded", worst, 1e-14
    )


def reranking(recipe: Recipe) -> Row:
    """The re-ranked distances of a recipe that scores such: k-reciprocal ones are recorded, expanded queries are not."""
    if recipe.evaluation.rerank["by"] != "k_reciprocal":
        return unverified("re-ranking", "test_Market1501_v02.m", "open: the script was read, not run")
    worst, runs = 0.0, 0
    for path in sorted(_MATLAB.glob("mars_*.npz")):
        with np.load(path) as z:
            x, query = z["features"], z["query_IDX_1based"] - 1
            for number, (k1, k2, lam) in enumerate(z["rerank_settings_k1_k2_lambda"], start=1):
                distance = k_reciprocal_distance(x[query], x, k1=int(k1), k2=int(k2), lam=lam)
                worst, runs = max(worst, float(np.abs(distance - z[f"rerank_dist_{number}"].T).max())), runs + 1
    # The original sums single-precision encodings (eps 6e-8) over some tens of neighbours.
    return recorded("re-ranking", "authors' re_ranking_cosine.m", f"distances of {runs} recorded runs", worst, 1e-6)


def _records() -> Iterator[tuple[dict[str, Any], Any, Any, dict[str, Any]]]:
    """(record, query features, query labels, gallery arguments) of every recorded run of the Python originals."""
    for path in sorted(_PYTHON.glob("*.npz")):
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(path) as z:
            if "query" in z:
                yield (
                    record,
                    z["query"],
                    z["query_labels"],
                    {"gallery": z["gallery"], "gallery_labels": z["gallery_labels"]},
                )
            else:
                yield record, z["features"], z["labels"], {}


def _counted(name: str, rule: Any) -> tuple[int, int]:
    """How many hit counts of `rule` differ from the recorded ones of the original `name`, and of how many runs."""
    wrong, runs = 0, 0
    for record, x, y, where in _records():
        expected = _recorded_counts(name, record, bool(where))
        if expected is None:
            continue
        hits = rule(x, y, list(expected), **where).hits
        wrong += sum(hits[k] != round(share * len(y)) for k, share in expected.items())
        runs += 1
    return wrong, runs


def _recorded_counts(rule: str, record: dict[str, Any], has_gallery: bool) -> dict[int, float] | None:
    """K -> share of hits; None where the original crashed."""
    if rule == "ret_metric_recall":
        found = {int(k): value for k, value in record["rb_RetMetric"].items()}
        return None if any(isinstance(value, str) for value in found.values()) else found
    key, ks = ("dm_recall_shop", "shop") if has_gallery else ("dm_recall_cub_minus_eye", "cub")
    values = record[key]
    return None if isinstance(values, str) else dict(zip(_DM_KS[ks], values))


def _optimistic() -> Row:
    """research-xbm's evaluation was not run: ties that all fall to the query, on the recorded similarities' upper bounds."""
    wrong, runs = 0, 0
    for record, x, y, where in _records():
        if bounds := record.get("float_pessimistic_optimistic_percent"):
            hits = recall_at_k(x, y, list(map(int, bounds)), **_AS_THEY_ARE, ties="optimistic", **where).hits
            wrong += sum(hits[int(k)] != round(high / 100 * len(y)) for k, (_, high) in bounds.items())
            runs += 1
    compared = f"hit counts of {runs} recorded sets of features, ties for the query; its own program was not run: how many differ"
    return rule_checked("evaluation", "research-xbm's rule, read", compared, wrong, 0.0)


def _classification() -> Row:
    """Raw and binary features against the release's search. Its raw ties have no fixed order: those K are left out."""
    wrong, runs = 0, 0
    for record, x, y, where in _records():
        if not isinstance(record.get("cls_float"), dict) or not isinstance(record.get("cls_binary"), dict):
            continue
        bounds = record["float_pessimistic_optimistic_percent"]
        raw = {int(k): v for k, v in record["cls_float"].items() if k in bounds and bounds[k][0] == bounds[k][1]}
        binary = {int(k): v for k, v in record["cls_binary"].items()}
        rules: list[tuple[Any, dict[int, float]]] = [
            (partial(recall_at_k, **_AS_THEY_ARE), raw),
            (hamming_recall_at_k, binary),
        ]
        for rule, expected in rules:
            hits = rule(x, y, list(expected), ties="matlab", **where).hits if expected else {}
            wrong += sum(hits[k] != round(percent / 100 * len(y)) for k, percent in expected.items())
        runs += 1
    return _row("authors' faiss search in Python", wrong, runs)
