"""MARS evaluation and re-ranking against the released MATLAB code's outputs; Market-1501's and LPW's rules by hand."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.paths import DATA

from ports.metrics.reid import (
    distance_blocks,
    evaluate,
    evaluate_cameras,
    expanded_blocks,
    pool_queries,
    trapezoid_ap,
)
from ports.metrics.reranking import k_reciprocal_distance

RECORDED = DATA / "metrics"

CASES = ["g60_q10", "g120_q25", "ties_g50_q8", "nojunk_g40_q10"]


@pytest.fixture(params=CASES)
def mars(request):
    z = dict(np.load(RECORDED / "matlab" / f"mars_{request.param}.npz"))
    z["q"] = z["query_IDX_1based"] - 1
    return z


def arguments(z):
    q = z["q"]
    return z["labels"][q], z["labels"], {"query_cams": z["cams"][q], "gallery_cams": z["cams"]}


def test_mars_cmc_and_map(mars):
    ids, gallery, cams = arguments(mars)
    result = evaluate(mars["score_matrix"].T, ids, gallery, **cams)
    # The original adds recall differences, ours divides once: a few ulp of a value below 1.
    np.testing.assert_allclose(result.average_precision, mars["ap_per_query"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.cmc, mars["CMC"], rtol=0, atol=1e-14)
    assert result.mean_ap == pytest.approx(float(mars["mAP"][0]), abs=1e-14)
    assert result.without_match == 0


def test_mars_from_features(mars):
    """From the features: distances differ from the record by rounding, which no untied ranking notices."""
    ids, gallery, cams = arguments(mars)
    x = mars["features"]
    result = evaluate(distance_blocks(x[mars["q"]], x, rows=3), ids, gallery, **cams)
    blocks = np.concatenate([b for _, b in distance_blocks(x[mars["q"]], x, rows=3)])
    np.testing.assert_allclose(blocks, mars["score_matrix"].T, rtol=0, atol=1e-15)
    assert result.mean_ap == pytest.approx(float(mars["mAP"][0]), abs=1e-14)


def test_mars_camera_cells(mars):
    ids, gallery, cams = arguments(mars)
    result = evaluate_cameras(mars["score_matrix"].T, ids, gallery, cams["query_cams"], cams["gallery_cams"])
    np.testing.assert_allclose(result.average_precision, mars["ap_pairwise"], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(result.rank1, mars["r1_pairwise"])
    np.testing.assert_allclose(result.ap_cells, mars["ap_CM"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.rank1_cells, mars["r1_CM"], rtol=0, atol=1e-14)


def test_mars_reranking(mars):
    ids, gallery, cams = arguments(mars)
    x = mars["features"]
    for number, (k1, k2, lam) in enumerate(mars["rerank_settings_k1_k2_lambda"], start=1):
        distance = k_reciprocal_distance(x[mars["q"]], x, k1=int(k1), k2=int(k2), lam=lam)
        # The original sums single-precision encodings (eps 6e-8) over some tens of neighbours.
        np.testing.assert_allclose(distance, mars[f"rerank_dist_{number}"].T, rtol=0, atol=1e-6)
        result = evaluate(mars[f"rerank_dist_{number}"].T, ids, gallery, **cams)
        assert result.mean_ap == pytest.approx(mars["rerank_mAP"][number - 1], abs=1e-14)
        np.testing.assert_allclose(result.cmc, mars[f"rerank_CMC_{number}"], rtol=0, atol=1e-14)


def test_a_step_shaped_average_precision_is_caught():
    """The common non-trapezoid AP differs from the record by far more than the tolerance."""
    z = np.load(RECORDED / "matlab" / "mars_g60_q10.npz")
    q, order = z["query_IDX_1based"] - 1, np.argsort(z["score_matrix"], axis=0, kind="stable")
    y, c = z["labels"], z["cams"]
    i = q[0]
    keep = order[:, 0][(y[order[:, 0]] != 0) & ~((y == y[i]) & (c == c[i]))[order[:, 0]]]
    places = np.flatnonzero(y[keep] == y[i])
    step = (np.arange(1, len(places) + 1) / (places + 1)).mean()
    assert abs(step - z["ap_per_query"][0]) > 1e-3


def test_trapezoid_by_hand():
    assert trapezoid_ap(np.array([0])) == 1
    # Good at ranks 2 and 4: ((0 + 1/2)/2 + (1/3 + 2/4)/2) / 2
    assert trapezoid_ap(np.array([1, 3])) == pytest.approx((0.25 + 5 / 12) / 2)


def test_market_rules_by_hand():
    """Junk is -1 and the own camera; a distractor (0) stays in as a wrong answer, and is junk under MARS' rule."""
    distance = np.array([[0.0, 0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.2, 0.3, 0.4]])
    gallery, cams = [7, -1, 0, 7, 5], [1, 2, 2, 2, 3]
    market = evaluate(distance, [7, 9], gallery, query_cams=[1, 1], gallery_cams=cams, junk_ids=(-1,))
    assert market.cmc.tolist() == [0, 1, 1, 1, 1] and market.without_match == 1
    assert market.mean_ap == pytest.approx((0 + 1 / 2) / 2)
    assert np.isnan(market.average_precision[1])
    mars = evaluate(distance[:1], [7], gallery, query_cams=[1], gallery_cams=cams, junk_ids=(0, -1))
    assert mars.mean_ap == 1


def test_lpw_has_no_junk():
    result = evaluate(np.array([[0.1, 0.0, 0.2]]), [3], [3, 4, 3])
    assert result.cmc.tolist() == [0, 1, 1]


def test_pooled_queries():
    x = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    pooled, names = pool_queries(x, [1, 1, 0])
    np.testing.assert_allclose(pooled, np.full((2, 2), np.sqrt(0.5)))
    assert names.tolist() == [0, 1]
    np.testing.assert_allclose(pool_queries(x, [1, 1, 0], "max")[0], np.full((2, 2), np.sqrt(0.5)))


def angles(*degrees):
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], axis=1)


def test_an_expanded_query_by_hand():
    """The nearest item at 2 is junk, so 20 expands the query at 0: 50 overtakes -40, which a plain ranking has before it."""
    gallery, cams, ids = angles(2, 20, -40, 50) * [[3], [1], [2], [1]], [1, 2, 2, 3], [7, 7, 9, 7]
    who = {"query_cams": [1], "gallery_cams": cams, "junk_ids": (-1,)}
    [(start, distance)] = expanded_blocks(angles(0), gallery, [7], ids, **who)
    nearest = np.cos(np.deg2rad(np.array([18, 0, 60, 30])))
    np.testing.assert_allclose(-distance[0], np.cos(np.deg2rad([2, 20, 40, 50])) + nearest / 2, rtol=0, atol=1e-15)
    plain = evaluate(distance_blocks(angles(0), gallery), [7], ids, **who)
    again = evaluate([(start, distance)], [7], ids, **who)
    assert plain.mean_ap == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2) and again.mean_ap == 1
    # A junk identity expands nothing either, and where all is junk the plain scores stand.
    [(_, alone)] = expanded_blocks(angles(0), gallery[:1], [7], [-1], query_cams=[1], gallery_cams=[2])
    np.testing.assert_allclose(alone, -np.cos(np.deg2rad([[2]])), rtol=0, atol=1e-15)
    [(_, two)] = expanded_blocks(angles(0), gallery, [7], ids, **who, neighbours=2)
    second = np.cos(np.deg2rad(np.array([42, 60, 0, 90])))
    np.testing.assert_allclose(two, distance - second / 3, rtol=0, atol=1e-15)


@pytest.mark.parametrize("mars", [name for name in CASES if "ties" not in name], indirect=True)
def test_one_expanded_query_leaves_the_first_place_alone(mars):
    """As in the authors' log, whose re-ranked R@1 equals the pooled one to all digits; the rest of the order changes."""
    ids, gallery, cams = arguments(mars)
    x = mars["features"]
    plain = evaluate(distance_blocks(x[mars["q"]], x), ids, gallery, **cams)
    expanded = evaluate(
        expanded_blocks(x[mars["q"]], x, ids, gallery, **cams, junk_ids=(0,), rows=3), ids, gallery, **cams
    )
    assert expanded.cmc[0] == plain.cmc[0] and expanded.mean_ap != plain.mean_ap


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="neighbours=0: expected at least 1"):
        list(expanded_blocks(np.ones((1, 2)), np.ones((1, 2)), [1], [1], neighbours=0))
    with pytest.raises(ValueError, match=r"1 of 2 rows are zero .*, the first is row 1"):
        list(distance_blocks(np.array([[1.0], [0.0]]), np.ones((1, 1))))
    with pytest.raises(ValueError, match="2 identities, but 1 cameras"):
        evaluate(np.zeros((1, 2)), [1], [1, 2], query_cams=[1], gallery_cams=[1])
    with pytest.raises(ValueError, match=r"shape \(1, 2\), expected \(queries, 3\)"):
        evaluate(np.zeros((1, 2)), [1], [1, 2, 3])
    with pytest.raises(ValueError, match="numbered 1 to 6, got 0 to 2"):
        evaluate_cameras(np.zeros((1, 2)), [1], [1, 2], [1], [0, 2])
    with pytest.raises(ValueError, match="k1=9"):
        k_reciprocal_distance(np.ones((1, 2)), np.ones((2, 2)), k1=9)
