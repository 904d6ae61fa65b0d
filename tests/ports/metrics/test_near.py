"""Near-ties, planted: the rows of the queries are unit vectors, so that the gallery's columns are the scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ports.metrics import originals, reid
from ports.metrics.near import NEAR
from ports.metrics.retrieval import RecallResult, negatives_ahead, recall_at_k

KS = (1, 2, 5, 40)
STEP = 2.0**-21  # 4.8e-7: two steps are nearer than NEAR, three are not; exact in float32


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param == "many blocks":
        monkeypatch.setattr("ports.metrics.ranking._CPU_BLOCK", (16, 16))
        monkeypatch.setattr("ports.metrics.ranking._HELD", 512)


def planted(seed: int, dtype=np.float32):
    """Queries (Q, Q), their labels, gallery (M, Q), its labels: scores of 0.5 and a few steps, far fewer than there are items."""
    rng = np.random.default_rng(seed)
    q, m = 40, 90
    labels, items = rng.integers(0, 12, q), rng.integers(0, 12, m)
    labels[0] = 99  # no match
    gallery = 0.5 + STEP * rng.integers(-40, 40, (m, q))
    return np.eye(q, dtype=dtype), labels, gallery.astype(dtype), items


def oracle(labels, gallery, items, ks=KS) -> dict[int, int]:
    near = dict.fromkeys(ks, 0)
    for query, label in enumerate(labels):
        scores, match = gallery[:, query].astype(np.float64), items == label
        if match.any():
            best, others = scores[match].max(), scores[~match]
            for k in ks:
                near[k] += (others > best + NEAR).sum() < k <= (others >= best - NEAR).sum()
    return near


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(4))
def test_planted_near_ties_are_counted(seed, dtype):
    x, y, g, gy = planted(seed, dtype)
    want = oracle(y, g, gy)
    assert want[1] > 3 and want[5] > 3, "the case has some"
    result = recall_at_k(x, y, KS, gallery=g, gallery_labels=gy, normalize=False)
    assert result.near == want
    parts = [
        recall_at_k(x, y, KS, gallery=g, gallery_labels=gy, normalize=False, query_rows=rows)
        for rows in (np.arange(7), np.arange(7, 40))
    ]
    assert RecallResult.sum(parts).near == want
    assert originals.ret_metric_recall(x, y, KS, gallery=g, gallery_labels=gy).near == want


@pytest.mark.parametrize("seed", range(4))
def test_reid_counts_them_alike(seed):
    _, y, g, gy = planted(seed, np.float64)
    assert reid.evaluate(1 - g.T, y, gy).near(KS) == oracle(y, g, gy)


def test_junk_is_nobodys_rival():
    # The nearest item of all is of the query's own camera, one step ahead of the good one: removed before ranks are counted.
    distance = np.array([[0.1, 0.1 + STEP, 0.5]])
    ids = {"query_cams": [1], "gallery_cams": [1, 2, 2]}
    assert reid.evaluate(distance, [7], [7, 7, 8], **ids).near([1]) == {1: 0}
    assert reid.evaluate(distance, [7], [8, 7, 8], **ids).near([1]) == {1: 1}


def test_deep_metric_counts_its_own_scores():
    """Its match is the query itself at a score of 0: a negative near orthogonal decides (query 1 has another one ahead)."""
    x = np.array([[1, 0], [1e-7, 1], [-0.6, 0.8]])
    assert originals.deep_metric_recall(x, [0, 1, 2], [1, 2]).near == {1: 1, 2: 1}


@pytest.mark.usefixtures("blocks")
def test_the_query_itself_is_nobodys_rival():
    x = np.random.default_rng(0).normal(size=(60, 8))
    y = np.arange(60) // 3
    assert recall_at_k(x, y, KS).near == dict.fromkeys(KS, 0)
    x[1], x[3] = x[0], x[0] + 1e-9  # queries 0, 1 and 3 at one place, 3 of another class
    near = recall_at_k(x, y, [1]).near
    assert near == {1: 2}, "0 and 1 tie with 3; 3's own match is far behind both"


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("row", [0.0, 1.0])
def test_a_collapsed_net_is_near_everywhere(row):
    """All equal, or all zero (no cosine at all): each query of a class of two, among 38 others."""
    x, y = torch.full((40, 4), row), torch.arange(40) // 2
    assert recall_at_k(x, y, [1, 38, 39]).near == {1: 40, 38: 40, 39: 0}
    ahead = negatives_ahead(x, y)
    assert ahead.clear.eq(0).all() and ahead.close.eq(38).all()
