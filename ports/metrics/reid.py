"""CMC and mAP of person re-identification, as the MATLAB evaluation of MARS and Market-1501 computes them.

Sources: `evaluation_mars.m`, `compute_AP.m`, `compute_AP_multiCam.m`, `compute_r1_multiCam.m` and the confusion matrices of
`test_script_Mars_global.m` (OSM + CAA release); `test_Market1501_v01.m` and `_v02.m` (RLL, TPAMI release).

A gallery item is good when it has the query's identity and another camera, junk (removed from the ranking) when it has
the identity and the same camera, or a junk identity. Junk identities: (0,) for MARS as released (its file has 0, with -1
commented out), (-1,) for Market-1501, whose distractors (0) stay in as wrong answers. LPW is evaluated without cameras:
nothing is junk. Average precision is the trapezoid under precision and recall, starting at precision 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ports.metrics.finite import check_rows, refuse
from ports.metrics.near import NEAR, near_counts


class ReidResult(NamedTuple):
    """cmc (G,): share of queries with a good item among the first k+1, junk removed. mean_ap: over the same queries.

    average_precision (Q,): NaN for a query without a good item. Such queries are left out of both means and counted in
    `without_match` (the original's mAP would be NaN). clear, close (Q,): wrong items nearer than the nearest good one by more
    than 1e-6, and those not farther by more (`ports.metrics.near`); both 0 for a query without a good item.
    """

    cmc: NDArray[Any]
    mean_ap: float
    average_precision: NDArray[Any]
    without_match: int
    clear: NDArray[Any]
    close: NDArray[Any]

    def near(self, ks: Iterable[int]) -> dict[int, int]:
        """K -> queries whose place among the first K is decided by at most 1e-6, exact ties included."""
        return near_counts(self.clear, self.close, ks)


class CameraResult(NamedTuple):
    """Per query and camera (Q, C): average precision and rank-1, and their means per camera pair (C, C).

    average_precision: 0 where the query has no item under the camera. rank1: 0 or 1; -1 where the query has no other
    item under its own camera, -2 where it has none under another one. ap_cells, rank1_cells: row is the query's camera;
    the mean of the non-zero entries (average precision, as the original divides) or of the valid ones (rank-1), NaN
    where there is none. mean_ap, mean_rank1: mean of the cells off the diagonal, NaN as soon as one of these is NaN.
    """

    average_precision: NDArray[Any]
    rank1: NDArray[Any]
    ap_cells: NDArray[Any]
    rank1_cells: NDArray[Any]
    mean_ap: float
    mean_rank1: float


def distance_blocks(
    queries: Any, gallery: Any, *, metric: str = "cosine", rows: int = 256
) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first query, distances (rows, G)) of L2-normalised rows: 1 - cosine, or the Euclidean distance.

    Computed in the dtype of the input, block by block; what `evaluate` and `evaluate_cameras` read. Raises ValueError for
    rows that are not finite or zero.
    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric={metric!r}: expected 'cosine' or 'euclidean'")
    q, g = (_unit(x, name) for x, name in ((queries, "queries"), (gallery, "gallery")))
    for start in range(0, len(q), rows):
        distance = 1 - q[start : start + rows] @ g.T
        yield start, distance if metric == "cosine" else np.sqrt(np.maximum(2 * distance, 0))


def evaluate(
    distance: Any,
    query_ids: Any,
    gallery_ids: Any,
    *,
    query_cams: Any = None,
    gallery_cams: Any = None,
    junk_ids: Sequence[int] = (0,),
) -> ReidResult:
    """CMC and mAP from distances (Q, G), or from the blocks of `distance_blocks`. Without cameras nothing is junk.

    Equal distances keep the order of the gallery (MATLAB's stable sort). Raises ValueError where lengths do not fit and
    for distances that are not finite.
    """
    ids, gids, cams, gcams = _arrays(query_ids, gallery_ids, query_cams, gallery_cams)
    junk_of = _junk_rule(ids, gids, cams, gcams, junk_ids)
    first = np.full(len(ids), -1)
    average = np.full(len(ids), np.nan)
    clear, close = np.zeros((2, len(ids)), dtype=np.int64)
    for i, order, row in _orders(distance, len(ids), len(gids)):
        kept = order[~junk_of(i)[order]]
        good = gids[kept] == ids[i]
        places = np.flatnonzero(good)
        if len(places):
            first[i], average[i] = places[0], trapezoid_ap(places)
            nearest, wrong = row[kept[places[0]]], row[kept[~good]]
            clear[i], close[i] = (wrong < nearest - NEAR).sum(), (wrong <= nearest + NEAR).sum()
    valid = first >= 0
    n = int(valid.sum())
    curve = np.bincount(first[valid], minlength=len(gids)).cumsum() / n if n else np.full(len(gids), np.nan)
    mean = float(average[valid].mean()) if n else float("nan")
    return ReidResult(curve, mean, average, len(ids) - n, clear, close)


def expanded_blocks(
    queries: Any,
    gallery: Any,
    query_ids: Any,
    gallery_ids: Any,
    *,
    query_cams: Any = None,
    gallery_cams: Any = None,
    junk_ids: Sequence[int] = (-1,),
    neighbours: int = 1,
    rows: int = 256,
) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first query, negative scores (rows, G)): the query expanded by its nearest items, what `evaluate` reads.

    The score of an item g is cos(q, g) + cos(f1, g) / 2 + ... + cos(fk, g) / (k + 1), with the k = `neighbours` nearest
    items f of the query that are no junk (`test_Market1501_v02.m`, where the first term is half of 2 less the squared Euclidean
    distance). With one neighbour the nearest such item stays the nearest (of equal ones, one): recall@1 does not change. Raises ValueError as
    `distance_blocks` and `evaluate`, and for less than one neighbour.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours={neighbours}: expected at least 1")
    ids, gids, cams, gcams = _arrays(query_ids, gallery_ids, query_cams, gallery_cams)
    junk_of = _junk_rule(ids, gids, cams, gcams, junk_ids)
    items = _unit(gallery, "gallery")
    for start, distance in distance_blocks(queries, gallery, rows=rows):
        expansion = np.zeros((len(distance), items.shape[1]), items.dtype)
        for row, own in enumerate(distance):
            order = np.argsort(own, kind="stable")
            nearest = order[~junk_of(start + row)[order]][:neighbours]
            expansion[row] = 1 / np.arange(2, len(nearest) + 2, dtype=items.dtype) @ items[nearest]
        yield start, distance - 1 - expansion @ items.T


def evaluate_cameras(
    distance: Any, query_ids: Any, gallery_ids: Any, query_cams: Any, gallery_cams: Any, *, cameras: int = 6
) -> CameraResult:
    """Average precision and rank-1 for each camera pair; cameras are numbered 1 to `cameras`.

    Other than in `evaluate`, junk identities stay in as wrong answers, as released. Under the query's own camera the
    nearest item of all is taken for the query itself. Raises ValueError as `evaluate`, and for a camera out of range.
    """
    ids, gids, cams, gcams = _arrays(query_ids, gallery_ids, query_cams, gallery_cams)
    assert cams is not None and gcams is not None
    for name, values in (("query_cams", cams), ("gallery_cams", gcams)):
        if len(values) and (values.min() < 1 or values.max() > cameras):
            raise ValueError(f"{name}: cameras are numbered 1 to {cameras}, got {values.min()} to {values.max()}")
    ap, rank1 = np.zeros((len(ids), cameras)), np.full((len(ids), cameras), -2.0)
    for i, order, _ in _orders(distance, len(ids), len(gids)):
        same, own = (gids == ids[i])[order], (gcams == cams[i])[order]
        cam = gcams[order]
        for other in np.unique(cam[same & ~own]):
            good = same & (cam == other)
            places = np.flatnonzero(good[good | ~same])
            ap[i, other - 1], rank1[i, other - 1] = trapezoid_ap(places), places[0] == 0
        # The count of good items is that of the query's camera less one, also when the nearest item is another one.
        count = int((same & own).sum()) - 1
        rank1[i, cams[i] - 1] = -1
        if count > 0:
            good = same & own
            keep = good | ~same
            keep[0] = False
            places = np.flatnonzero(good[keep])
            ap[i, cams[i] - 1], rank1[i, cams[i] - 1] = trapezoid_ap(places, count), places[0] == 0
    cells = [np.full((cameras, cameras), np.nan) for _ in range(2)]
    for table, values, used in ((cells[0], ap, ap != 0), (cells[1], rank1, rank1 >= 0)):
        for a in range(cameras):
            for b in range(cameras):
                chosen = values[:, b][(cams == a + 1) & used[:, b]]
                if len(chosen):
                    table[a, b] = chosen.mean()
    off = ~np.eye(cameras, dtype=bool)
    return CameraResult(ap, rank1, cells[0], cells[1], float(cells[0][off].mean()), float(cells[1][off].mean()))


def trapezoid_ap(places: NDArray[Any], count: int | None = None) -> float:
    """Average precision of good items at 0-based ranks `places` (ascending), of `count` in all (default: these).

    Sum of (recall step) x (mean of the precisions before and after it); the precision before the first rank is 1. With
    fewer than len(places) counted, the original stops at the count-th.
    """
    count = len(places) if count is None else count
    places = np.asarray(places)[:count].astype(np.float64)
    hits = np.arange(1, len(places) + 1)
    before = np.where(places == 0, 1.0, (hits - 1) / np.maximum(places, 1))
    return float(((before + hits / (places + 1)) / 2).sum() / count)


def pool_queries(features: Any, groups: Any, how: str = "avg") -> tuple[NDArray[Any], NDArray[Any]]:
    """Multi-query: one feature per group (identity and camera), (N, D) -> (groups, D), and the sorted group labels.

    Rows are L2-normalised, averaged or maximised per dimension, and normalised again (`test_Market1501_v02.m`).
    """
    if how not in ("avg", "max"):
        raise ValueError(f"how={how!r}: expected 'avg' or 'max'")
    x = _unit(features, "features")
    names, codes = np.unique(np.asarray(groups), return_inverse=True, axis=0)
    order = np.argsort(codes.reshape(-1), kind="stable")
    starts = np.searchsorted(codes.reshape(-1)[order], np.arange(len(names)))
    pooled = (np.add if how == "avg" else np.maximum).reduceat(x[order], starts, axis=0)
    return _unit(pooled, "features"), names


def _unit(x: Any, name: str) -> NDArray[Any]:
    x = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    check_rows(x, name, directions=True)
    return x / np.sqrt((x * x).sum(axis=1, keepdims=True))


def _arrays(ids: Any, gids: Any, cams: Any, gcams: Any) -> tuple[NDArray[Any], NDArray[Any], Any, Any]:
    if (cams is None) != (gcams is None):
        raise ValueError("query_cams and gallery_cams go together")
    q, g = np.asarray(ids).reshape(-1), np.asarray(gids).reshape(-1)
    if cams is None:
        return q, g, None, None
    c, gc = np.asarray(cams).reshape(-1).astype(np.int64), np.asarray(gcams).reshape(-1).astype(np.int64)
    for name, a, b in (("query", q, c), ("gallery", g, gc)):
        if len(a) != len(b):
            raise ValueError(f"{name}: {len(a)} identities, but {len(b)} cameras")
    return q, g, c, gc


def _junk_rule(
    ids: NDArray[Any], gids: NDArray[Any], cams: Any, gcams: Any, junk_ids: Sequence[int]
) -> Callable[[int], NDArray[Any]]:
    """Query -> (G,) true where an item is junk for it. Without cameras nothing is."""
    if cams is None:
        nothing = np.zeros(len(gids), dtype=bool)
        return lambda query: nothing
    never = np.isin(gids, list(junk_ids))
    return lambda query: never | ((gids == ids[query]) & (gcams == cams[query]))


def _orders(distance: Any, queries: int, gallery: int) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Query, gallery items from the nearest to the farthest, distances as they stand."""
    blocks = iter([(0, np.asarray(distance))] if hasattr(distance, "shape") else distance)
    seen = 0
    for start, block in blocks:
        if block.ndim != 2 or block.shape[1] != gallery:
            raise ValueError(f"distances of shape {block.shape}, expected (queries, {gallery})")
        seen += len(block)
        if not np.isfinite(block).all():
            _refuse_distances(queries, chain([(start, block)], blocks))
        for row in range(len(block)):
            yield start + row, np.argsort(block[row], kind="stable"), block[row]
    if seen != queries:
        raise ValueError(f"distances of {seen} queries, but {queries} identities")


def _refuse_distances(queries: int, blocks: Iterable[tuple[int, NDArray[Any]]]) -> None:
    """Count the rows with NaN or infinity in what is left of the distances."""
    bad = np.zeros(queries, dtype=bool)
    for start, block in blocks:
        bad[start : start + len(block)] = ~np.isfinite(block).all(1)
    refuse(bad, "distances", "hold NaN or infinity")
