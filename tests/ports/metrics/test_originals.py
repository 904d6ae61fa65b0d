"""Recall of the Python originals: counts recorded from their own programs. Sign features, MAP@R."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.paths import DATA

from ports.metrics.binary import hamming_recall_at_k, signs
from ports.metrics.map_at_r import map_at_r, nearest
from ports.metrics.originals import deep_metric_recall, ret_metric_recall
from ports.metrics.retrieval import recall_at_k

RECORDED = DATA / "metrics"

SELF = [
    "plain_n60_d16",
    "dups_n60_d16",
    "ties_quantised_n60_d4",
    "ties_integer_n60_d4",
    "singletons_n60_d16",
    "unnormalised_n60_d8",
    "negative_positives_n40_d2",
    "plain_n1100_d8",
]
INSHOP = ["inshop_n20_50_d16", "inshop_ties_n20_50_d4", "inshop_missing_gallery_class"]
DM_KS = {"cub": [1, 2, 4, 8, 16, 32], "product": [1, 10, 100, 1000], "shop": [1, 10, 20, 30, 40, 50]}


@pytest.fixture(params=SELF + INSHOP)
def case(request):
    folder = RECORDED / "python" / "evaluation"
    record = json.loads((folder / f"{request.param}.json").read_text())
    z = np.load(folder / f"{request.param}.npz")
    if "query" in z:
        return record, z["query"], z["query_labels"], {"gallery": z["gallery"], "gallery_labels": z["gallery_labels"]}
    return record, z["features"], z["labels"], {}


def percent_counts(recorded: dict, n: int, limit: int) -> dict[int, int]:
    """K -> hits, without the K for which the recorded search returned fewer than K neighbours and read padding."""
    out = {int(k): v * n / 100 for k, v in recorded.items() if int(k) < limit}
    assert all(abs(v - round(v)) < 1e-9 for v in out.values())
    return {k: round(v) for k, v in out.items()}


def test_ret_metric(case):
    record, x, y, more = case
    recorded = {int(k): v for k, v in record["rb_RetMetric"].items()}
    hits = ret_metric_recall(x, y, recorded, **more).hits
    if isinstance(recorded[1], str):  # the original raises on the first query without a match; ours counts a miss
        assert "crash" in recorded[1] and 0 < hits[max(hits)] < len(y)
    else:
        assert hits == {k: round(v * len(y)) for k, v in recorded.items()}


@pytest.mark.parametrize("data", DM_KS)
def test_deep_metric(case, data):
    record, x, y, more = case
    recorded = record.get("dm_recall_shop" if more else f"dm_recall_{data}_minus_eye")
    if more and data != "shop":
        return
    hits = deep_metric_recall(x, y, DM_KS[data], **more).hits
    if isinstance(recorded, str):
        assert "crash" in recorded and 0 < hits[50] < len(y)
    else:
        assert list(hits.values()) == [round(v * len(y)) for v in recorded]


@pytest.mark.parametrize("kind", ["float", "binary"])
def test_classification_between_its_bounds(case, kind):
    """faiss leaves the order of equal inner products open, so the record holds both ends; ours must equal both."""
    record, x, y, more = case
    size = len(more["gallery"]) if more else len(y)
    features, more = (
        (x, more) if kind == "float" else (signs(x), {k: v if "labels" in k else signs(v) for k, v in more.items()})
    )
    bounds = record[f"{kind}_pessimistic_optimistic_percent"]
    for place, ties in enumerate(("pessimistic", "optimistic")):
        expected = percent_counts({k: v[place] for k, v in bounds.items()}, len(y), size)
        assert recall_at_k(features, y, expected, ties=ties, normalize=False, **more).hits == expected
    recorded = percent_counts(record[f"cls_{kind}_k1000"], len(y), size)
    hits = recall_at_k(features, y, recorded, normalize=False, **more).hits
    if kind == "binary" or ("ties" not in record["name"] and "dups" not in record["name"]):
        assert hits == recorded


def test_hamming_is_the_sign_search():
    z = np.load(RECORDED / "python" / "evaluation" / "plain_n60_d16.npz")
    x, y = z["features"], z["labels"]
    bits = x > 0
    distance = (bits[:, None] != bits[None]).sum(2)
    np.fill_diagonal(distance, 999)
    order = np.argsort(distance, axis=1, kind="stable")
    expected = {k: int((y[order[:, :k]] == y[:, None]).any(1).sum()) for k in (1, 4, 16)}
    assert hamming_recall_at_k(x, y, [1, 4, 16]).hits == expected
    with pytest.raises(ValueError, match=r"1 of 2 rows are not finite .*, the first is row 1"):
        signs(np.array([[1.0], [np.nan]]))


def test_tie_rules_differ_on_the_recorded_ties():
    """A port with another tie rule is caught by the recorded MATLAB counts."""
    z = np.load(RECORDED / "matlab" / "recall_at_K_ties_quantised50.npz")
    recorded = [round(v * 50) for v in z["recall"]]
    for ties in ("optimistic", "pessimistic"):
        assert list(recall_at_k(z["features"], z["class_ids"], z["K"], ties=ties).hits.values()) != recorded


def test_map_at_r_by_hand():
    """Ranks of the matches of query 0 (R = 2): 1 and 3 -> R-precision 1/2, MAP@R (1/1)/2."""
    g = np.array([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1]], np.float32)
    result = map_at_r(np.array([[1, 0]], np.float32), [0], gallery=g, gallery_labels=[0, 1, 0, 1])
    assert result == (0.5, 0.5, 1, 0)
    result = map_at_r(np.array([[1, 0], [1, 0]], np.float32), [1, 9], gallery=g, gallery_labels=[0, 1, 0, 1])
    assert result == (0.5, 0.25, 1, 1)


def test_map_at_r_equals_the_peer():
    calculator = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    inference = pytest.importorskip("pytorch_metric_learning.utils.inference")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 40, 300)
    x = torch.from_numpy((rng.normal(size=(40, 16))[y] + 1.2 * rng.normal(size=(300, 16))).astype(np.float32))
    peer = calculator.AccuracyCalculator(
        include=("r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=inference.CustomKNN(distances.CosineSimilarity()),
        device=torch.device("cpu"),
    ).get_accuracy(x, torch.from_numpy(y))
    ours = map_at_r(x, y)
    # Same ranking (no ties in random data), means over 300 queries: float32 sums in the peer.
    assert ours.r_precision == pytest.approx(peer["r_precision"], abs=1e-6)
    assert ours.map_at_r == pytest.approx(peer["mean_average_precision_at_r"], abs=1e-6)


def test_map_at_r_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(90, 8)).astype(np.float32), rng.integers(0, 20, 90)
    expected = map_at_r(x, y)
    monkeypatch.setattr("ports.metrics.map_at_r._HELD", 7 * 90)
    assert map_at_r(x, y) == pytest.approx(expected, abs=1e-12)


def test_nearest_is_a_stable_sort():
    scores = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (50, 30)).astype(np.float32))
    expected = scores.argsort(dim=1, descending=True, stable=True)[:, :7]
    assert torch.equal(nearest(scores, 7), expected)
