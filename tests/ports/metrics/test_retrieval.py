"""Recall@K against the counts of the originals' evaluation programs, and against a plain sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.paths import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from ports.metrics.retrieval import RecallResult, negatives_ahead, recall_at_k

RECORDED = DATA / "metrics"

SELF_CASES = [
    "cluster60_d16",
    "cluster130_k1_10_100",
    "ties_quantised50",
    "all_identical20",
    "duplicate_rows30",
    "singletons23",
    "zero_feature_row25",
]
INSHOP_CASES = ["q40_g75", "ties_q20_g40", "query_class_absent"]


def counts(recall: np.ndarray, n: int) -> list[int]:
    """Recorded shares are whole counts over n; anything else would be a misread record."""
    whole = np.rint(np.asarray(recall) * n)
    np.testing.assert_allclose(np.asarray(recall) * n, whole, atol=1e-9)
    return whole.astype(int).tolist()


@pytest.mark.parametrize("name", SELF_CASES)
def test_matlab_counts(name):
    z = np.load(RECORDED / "matlab" / f"recall_at_K_{name}.npz")
    result = recall_at_k(z["features"], z["class_ids"], z["K"].tolist())
    assert list(result.hits.values()) == counts(z["recall"], len(z["features"]))


@pytest.mark.parametrize("name", INSHOP_CASES)
def test_inshop_counts(name):
    z = np.load(RECORDED / "matlab" / f"inshop_recall_at_K_{name}.npz")
    n, x, y = int(z["query_num"][0]), z["features"], z["class_ids"]
    result = recall_at_k(x[:n], y[:n], z["K"].tolist(), gallery=x[n:], gallery_labels=y[n:])
    assert list(result.hits.values()) == counts(z["recall"], n)


def plain(x, y, g, gy, self_excluded, normalize=True):
    """The same by a whole score matrix and MATLAB's stable sort. Scores are small whole numbers: no rounding."""
    s = -(x @ g.T).astype(np.float64)
    if self_excluded:
        np.fill_diagonal(s, np.inf)
    order = np.argsort(s, axis=1, kind="stable")
    out = []
    for i in range(len(x)):
        hit = (gy[order[i]] == y[i]) & ~(self_excluded & (order[i] == i))
        matlab = int(np.argmax(hit)) if hit.any() else None
        match = gy == y[i]
        negative = ~match
        if self_excluded:
            match[i] = False
        best = s[i][match].min() if match.any() else None
        above = None if best is None else int((s[i][negative] < best).sum())
        at_least = None if best is None else int((s[i][negative] <= best).sum())
        out.append((matlab, above, at_least))
    return out


def in_blocks(patch, size):
    """No fixture: one of hypothesis' scope would stay patched for the tests behind it, which have three thousand rows."""
    patch.setattr("ports.metrics.ranking._CPU_BLOCK", (size, size))
    patch.setattr("ports.metrics.ranking._HELD", 2 * size * size)


@pytest.mark.parametrize("size", [None, 16], ids=["one block", "many blocks"])
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 70),
    m=st.integers(0, 70),
    classes=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    levels=st.integers(1, 3),
)
def test_equal_to_a_stable_sort_with_ties(size, n, m, classes, seed, levels):
    rng = np.random.default_rng(seed)
    x = rng.integers(-levels, levels + 1, (n, 5)).astype(np.float32)
    y = rng.integers(0, classes, n)
    g, gy = x, y
    if m:
        g, gy = rng.integers(-levels, levels + 1, (m, 5)).astype(np.float32), rng.integers(0, classes, m)
    with pytest.MonkeyPatch.context() as patch:
        if size is not None:
            in_blocks(patch, size)
        ahead = negatives_ahead(x, y, *((g, gy) if m else ()), normalize=False)
    expected = plain(x, y, g, gy, not m)
    never = torch.iinfo(torch.int64).max
    for i, (matlab, above, at_least) in enumerate(expected):
        assert ahead.matlab[i] == (never if matlab is None else matlab)
        assert ahead.above[i] == (never if above is None else above)
        assert ahead.at_least[i] == (never if at_least is None else at_least)


def big(n=3000, d=32, classes=700, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return (rng.normal(size=(classes, d))[y] + 1.5 * rng.normal(size=(n, d))).astype(np.float32), y


def test_many_blocks_equal_one_matrix():
    x, y = big()
    z = torch.nn.functional.normalize(torch.from_numpy(x))
    s = z @ z.T
    s.fill_diagonal_(-torch.inf)
    order = s.argsort(dim=1, descending=True, stable=True).numpy()
    hit = y[order] == y[:, None]
    hit[np.arange(len(y)), [int(np.where(order[i] == i)[0][0]) for i in range(len(y))]] = False
    result = recall_at_k(x, y, [1, 10, 100])
    for k in result:
        assert result.hits[k] == hit[:, :k].any(1).sum()


@pytest.mark.parametrize("kind", ["torch", "memmap", "uncached", "parts", "float64"])
def test_same_counts_however_it_is_read(kind, tmp_path):
    x, y = big()
    expected = recall_at_k(x, y, [1, 10, 100]).hits
    if kind == "torch":
        got = recall_at_k(torch.from_numpy(x), torch.from_numpy(y), [1, 10, 100]).hits
    elif kind == "memmap":
        np.save(tmp_path / "x.npy", x)
        got = recall_at_k(np.load(tmp_path / "x.npy", mmap_mode="r"), y, [1, 10, 100], cache=0).hits
    elif kind == "uncached":
        got = recall_at_k(x, y, [1, 10, 100], cache=0).hits
    elif kind == "parts":
        rows = np.array_split(np.random.default_rng(1).permutation(len(y)), 3)
        parts = [recall_at_k(x, y, [1, 10, 100], query_rows=r) for r in rows]
        got = RecallResult.sum(parts).hits
    else:
        got = recall_at_k(x.astype(np.float64), y, [1, 10, 100]).hits
    assert got == expected


def test_collapsed_embeddings_follow_the_index():
    """One point for everything, many blocks: MATLAB's rule gives the lowest index of the class, minus the query's."""
    n = 2500
    y = np.random.default_rng(3).integers(0, 50, n)
    x = np.tile(np.random.default_rng(4).normal(size=(1, 512)).astype(np.float32), (n, 1))
    ahead = negatives_ahead(x, y)
    for i in (0, 1, 1234, n - 1):
        others = [j for j in range(n) if j != i]
        assert ahead.matlab[i] == next(a for a, j in enumerate(others) if y[j] == y[i])
        assert ahead.above[i] == 0
        assert ahead.at_least[i] == (y != y[i]).sum()


def test_few_large_classes_and_a_class_without_queries():
    x, y = big(classes=2)
    ahead = negatives_ahead(x, y)
    assert (ahead.above <= ahead.matlab).all() and (ahead.matlab <= ahead.at_least).all()
    result = recall_at_k(x[:1], y[:1], [1], gallery=x[1:], gallery_labels=np.full(len(y) - 1, 7))
    assert result.hits == {1: 0} and result.queries == 1


def test_gallery_classes_between_those_of_the_queries():
    """No query has a match, yet gallery classes lie between theirs."""
    result = recall_at_k(
        np.eye(2, dtype=np.float32), [1, 5], [1], gallery=np.ones((1, 2), np.float32), gallery_labels=[3]
    )
    assert result.hits == {1: 0}


def test_zero_features_in_the_gallery_form():
    """A zero query ties with everything (NaN): the order is the index. A zero gallery row stands behind all others."""
    g = np.array([[0, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    result = recall_at_k(
        np.array([[0, 0], [1, 0]], np.float32), [5, 4], [1, 2, 3, 4], gallery=g, gallery_labels=[4, 3, 5, 3]
    )
    assert result.hits == {1: 0, 2: 0, 3: 1, 4: 2}


@pytest.mark.parametrize(
    "call, message",
    [
        ({"labels": [0, 1]}, "3 rows, but 2 labels"),
        ({"ks": [0]}, r"ks=\[0\]"),
        ({"ties": "random"}, "ties='random'"),
        ({"gallery": np.ones((2, 2))}, "go together"),
        ({"gallery": np.ones((2, 3), np.float32), "gallery_labels": [0, 1]}, "2 dimensions, gallery has 3"),
        (
            {"embeddings": np.array([[1, 0], [0, np.nan], [1, 1]], np.float32)},
            "embeddings: 1 of 3 rows are not finite .*, the first is row 1",
        ),
        ({"embeddings": np.ones(3)}, "got shape"),
    ],
)
def test_bad_input_is_named(call, message):
    arguments = {"embeddings": np.eye(3, 2, dtype=np.float32) + 1, "labels": [0, 0, 1], "ks": [1]} | call
    with pytest.raises(ValueError, match=message):
        recall_at_k(**arguments)


def test_precision_settings_are_ignored_and_kept():
    x, y = big(n=600)
    expected = recall_at_k(x, y, [1, 10]).hits
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert recall_at_k(x, y, [1, 10]).hits == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.gpu
def test_cuda_counts(cuda):
    x, y = big()
    assert recall_at_k(x, y, [1, 10, 100], device=cuda).hits == recall_at_k(x, y, [1, 10, 100]).hits


def test_copies_equal_the_records(reference):
    """What lies in golden/data/metrics is what was recorded, array by array."""
    copies = sorted(RECORDED.glob("*/**/*.npz"))
    assert len(copies) > 40
    for copy in copies:
        if copy.parent.name == "nets":
            source = reference / "nets" / "rll_cvpr19" / "sop_test_concat" / "blobs_f64.npz"
        else:
            source = reference / copy.relative_to(RECORDED)
        ours, theirs = np.load(copy), np.load(source)
        for key in ours.files:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=f"{copy.name} {key}")
    for copy in RECORDED.glob("python/*/*.json"):
        assert copy.read_bytes() == (reference / copy.relative_to(RECORDED)).read_bytes()
