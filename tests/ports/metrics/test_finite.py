"""Every metric refuses rows that it cannot rank, says how many there are, and a query never finds itself.

A diverged network embeds everything as NaN; "fewer than K negatives have a greater score" then held for every query, and
18 recipes would have ended with recall 100 %.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ports.metrics import reid
from ports.metrics.binary import hamming_recall_at_k, signs
from ports.metrics.clustering import clustering_metrics, kmeans
from ports.metrics.map_at_r import map_at_r
from ports.metrics.originals import deep_metric_recall, ret_metric_recall
from ports.metrics.reranking import k_reciprocal_distance
from ports.metrics.retrieval import negatives_ahead, recall_at_k

LABELS = np.arange(20) % 5

# Each takes queries (20, 8) and, where it has one, a gallery of the same size.
ALONE = {
    "recall": lambda x: recall_at_k(x, LABELS, [1]),
    "recall_as_they_are": lambda x: recall_at_k(x, LABELS, [1], normalize=False),
    "recall_uncached": lambda x: recall_at_k(x, LABELS, [1], cache=0),
    "recall_optimistic": lambda x: recall_at_k(x, LABELS, [1], ties="optimistic"),
    "recall_pessimistic": lambda x: recall_at_k(x, LABELS, [1], ties="pessimistic"),
    "ret_metric": lambda x: ret_metric_recall(x, LABELS, [1]),
    "deep_metric": lambda x: deep_metric_recall(x, LABELS, [1]),
    "hamming": lambda x: hamming_recall_at_k(x, LABELS, [1]),
    "signs": signs,
    "map_at_r": lambda x: map_at_r(x, LABELS),
    "kmeans": lambda x: kmeans(x, 5, n_init=1),
}
WITH_GALLERY = {
    "recall": lambda x, g: recall_at_k(x, LABELS, [1], gallery=g, gallery_labels=LABELS),
    "ret_metric": lambda x, g: ret_metric_recall(x, LABELS, [1], gallery=g, gallery_labels=LABELS),
    "deep_metric": lambda x, g: deep_metric_recall(x, LABELS, [1], gallery=g, gallery_labels=LABELS),
    "hamming": lambda x, g: hamming_recall_at_k(x, LABELS, [1], gallery=g, gallery_labels=LABELS),
    "map_at_r": lambda x, g: map_at_r(x, LABELS, gallery=g, gallery_labels=LABELS),
    "reid": lambda x, g: reid.evaluate(reid.distance_blocks(x, g), LABELS, LABELS),
    "reid_euclidean": lambda x, g: reid.evaluate(reid.distance_blocks(x, g, metric="euclidean"), LABELS, LABELS),
    "k_reciprocal": lambda x, g: k_reciprocal_distance(x, g, k1=4, k2=2),
}
GALLERY_NAMES = {"reid": "queries", "reid_euclidean": "queries", "k_reciprocal": "queries"}


def features(seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(20, 8)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def spoiled(rows: dict[int, float]) -> np.ndarray:
    x = features()
    for row, value in rows.items():
        x[row, row % 8] = value
    return x


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38], ids=str)
@pytest.mark.parametrize("name", ALONE)
def test_counts_the_rows_and_names_the_first(name: str, value: float) -> None:
    """3e38 is finite, but no product of it is: its cosine would be NaN."""
    ALONE[name](features())
    for x in (spoiled({7: value, 3: value}), torch.from_numpy(spoiled({7: value, 3: value}))):
        with pytest.raises(ValueError, match=r"^embeddings: 2 of 20 rows are not finite .*, the first is row 3$"):
            ALONE[name](x)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("name", WITH_GALLERY)
def test_says_which_side(name: str, value: float) -> None:
    good, bad = features(1), spoiled({19: value, 0: value, 5: value})
    WITH_GALLERY[name](features(), good)
    queries = GALLERY_NAMES.get(name, "embeddings")
    with pytest.raises(ValueError, match=rf"^{queries}: 3 of 20 rows are not finite .*, the first is row 0$"):
        WITH_GALLERY[name](bad, good)
    with pytest.raises(ValueError, match=r"^gallery: 3 of 20 rows are not finite .*, the first is row 0$"):
        WITH_GALLERY[name](good, bad)


def test_the_diverged_network() -> None:
    """What a run with a learning rate of 1e6 gave to its evaluation; the answer was {1: 1.0}."""
    with pytest.raises(ValueError, match=r"embeddings: 20 of 20 rows are not finite .*, the first is row 0"):
        ret_metric_recall(torch.full((20, 8), torch.nan), LABELS, [1])


def test_all_rows_are_counted_beyond_the_first_block(monkeypatch) -> None:
    monkeypatch.setattr("ports.metrics.finite._BLOCK", 6)
    with pytest.raises(ValueError, match=r"3 of 20 rows .* row 4$"):
        recall_at_k(spoiled({4: np.nan, 12: np.inf, 19: np.nan}), LABELS, [1])


def test_a_memory_map_is_read_in_place(tmp_path) -> None:
    np.save(tmp_path / "x.npy", spoiled({9: np.nan}))
    with pytest.raises(ValueError, match=r"1 of 20 rows .* row 9$"):
        recall_at_k(np.load(tmp_path / "x.npy", mmap_mode="r"), LABELS, [1], cache=0)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("evaluate", ["evaluate", "evaluate_cameras"])
def test_distances(evaluate: str, value: float) -> None:
    cams = np.arange(20) % 2 + 1

    def run(distance):
        if evaluate == "evaluate":
            return reid.evaluate(distance, LABELS, LABELS, query_cams=cams, gallery_cams=cams)
        return reid.evaluate_cameras(distance, LABELS, LABELS, cams, cams, cameras=2)

    distance = 1 - features() @ features().T
    run(distance)
    distance[[4, 11, 18], [0, 1, 2]] = value
    for given in (distance, ((start, distance[start : start + 6]) for start in range(0, 20, 6))):
        with pytest.raises(ValueError, match="distances: 3 of 20 rows hold NaN or infinity, the first is row 4"):
            run(given)


def test_zero_rows_where_a_direction_is_needed() -> None:
    """Their cosine is NaN. `recall_at_k` has a rule for it, which the record of a zero row holds."""
    x = features()
    x[6] = 0
    for name in ("reid", "k_reciprocal", "deep_metric"):
        for arguments in ((x, features()), (features(), x)):
            with pytest.raises(ValueError, match="1 of 20 rows are zero and have no direction, the first is row 6"):
                WITH_GALLERY[name](*arguments)
    with pytest.raises(ValueError, match="1 of 20 rows are zero"):
        deep_metric_recall(x, LABELS, [1])
    with pytest.raises(ValueError, match="features: 1 of 20 rows are zero"):
        reid.pool_queries(x, LABELS)
    ret_metric_recall(x, LABELS, [1])  # inner products: a zero row is a row


def test_rows_of_one_direction_have_no_reranking() -> None:
    """1 - cosine is divided by the largest of its row: 0 / 0."""
    x = np.ones((5, 4))
    with pytest.raises(ValueError, match="queries and gallery: 10 of 10 rows are as near"):
        k_reciprocal_distance(x, x, k1=3, k2=2)


def test_labels_of_clusters() -> None:
    with pytest.raises(ValueError, match="cluster labels: 2 of 4 labels are NaN or infinite, the first is label 1"):
        clustering_metrics([0.0, np.nan, 1.0, np.nan], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="class labels: 1 of 4"):
        clustering_metrics([0, 0, 1, 1], [0.0, np.inf, 1.0, 1.0])


@pytest.mark.parametrize("ties", ["matlab", "optimistic", "pessimistic"])
def test_a_query_never_finds_itself(ties: str) -> None:
    """K reaches every item. Two classes of one: no query has a match."""
    assert recall_at_k([[1, 0], [0.6, 0.8]], [0, 1], [1, 2, 3, 100], ties=ties).hits == {1: 0, 2: 0, 3: 0, 100: 0}
    x, y = features(), np.r_[np.arange(18), 0, 1]  # two classes of two, sixteen of one
    for k in (19, 20, 21, 1000):
        assert recall_at_k(x, y, [k], ties=ties).hits == {k: 4}


def test_zero_rows_against_a_plain_sort() -> None:
    """Stable sort of the other items, NaN last; directions along the axes, so that scores are exact."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 14))
        x = np.zeros((n, 3), np.float32)
        x[np.arange(n), rng.integers(0, 3, n)] = rng.choice([0, 0, 1, 2, -1], n)
        y = rng.integers(0, 4, n)
        norm = np.linalg.norm(x, axis=1)
        with np.errstate(invalid="ignore"):
            unit = x / norm[:, None]
        matlab = negatives_ahead(x, y).matlab
        for i in range(n):
            others = np.array([j for j in range(n) if j != i])
            order = others[np.argsort(-(unit[i] @ unit[others].T), kind="stable")]  # NumPy sorts NaN last, as MATLAB
            hit = y[order] == y[i]
            expected = int(hit.argmax()) if hit.any() else torch.iinfo(torch.int64).max
            assert matlab[i] == expected, (seed, i)
