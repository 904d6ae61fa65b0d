"""k-reciprocal re-ranking as `re_ranking_cosine.m` of the OSM + CAA release computes it.

Zhong, Zheng, Cao & Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", 2017. As released: distances are
1 - cosine, divided by the largest of their row after the ranking was taken; half of k1 neighbours is round((k1 + 1) / 2),
halves up; the encodings are held in single precision. Only the nearest k1 + 1 of each row are kept and the encodings are
sparse, so that nothing of size N x N exists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from ports.metrics.finite import check_rows, refuse
from ports.metrics.map_at_r import nearest


def k_reciprocal_distance(
    queries: Any, gallery: Any, *, k1: int = 20, k2: int = 6, lam: float = 0.3, rows: int = 1024
) -> NDArray[Any]:
    """(Q, D), (G, D) -> re-ranked distances (Q, G): (1 - lam) x Jaccard + lam x (1 - cosine) / row maximum.

    The release's script tries (k1, k2, lam) = (20, 6, 0.3), (20, 6, 0.5) and (7, 3, 0.85). Raises ValueError where k1 + 1
    exceeds Q + G, for rows that are not finite or zero (a zero row has no cosine) and where all rows are one direction
    (distances are divided by the largest of their row). A row that is not among its own nearest (possible with ties) can
    have no neighbours; its encoding is zero, as in the original.
    """
    both = [np.asarray(features, dtype=np.float64) for features in (queries, gallery)]
    for features, name in zip(both, ("queries", "gallery")):
        check_rows(features, name, directions=True)
    x = np.concatenate(both)
    x /= np.sqrt((x * x).sum(1, keepdims=True))
    n, n_queries = len(x), len(queries)
    if not (1 <= k1 < n and 1 <= k2 < n):
        raise ValueError(f"k1={k1}, k2={k2}: expected 1 to {n - 1} (queries and gallery together hold {n} rows)")
    width = max(k1 + 1, k2)
    rank, largest = np.empty((n, width), dtype=np.int64), np.empty(n)
    for start in range(0, n, rows):
        distance = 1 - x[start : start + rows] @ x.T
        rank[start : start + rows] = nearest(-torch.from_numpy(distance), width).numpy()
        largest[start : start + rows] = distance.max(1)
    refuse(largest <= 0, "queries and gallery", "are as near to all others as to themselves")

    half = (k1 + 2) // 2  # round((k1 + 1) / 2), halves up

    def reciprocal(i: int, k: int) -> NDArray[Any]:
        forward = rank[i, :k]
        return forward[(rank[forward, :k] == i).any(1)]

    def encode(i: int) -> tuple[NDArray[Any], NDArray[Any]]:
        members = reciprocal(i, k1 + 1)
        expansion = [members]
        for candidate in members:
            more = reciprocal(candidate, half)
            if len(np.intersect1d(members, more)) > 2 / 3 * len(more):
                expansion.append(more)
        index = np.unique(np.concatenate(expansion))
        weight = np.exp(-(1 - x[index] @ x[i]) / largest[i])
        return index, (weight / weight.sum()).astype(np.float32) if len(index) else weight.astype(np.float32)

    parts = [encode(i) for i in range(n)]
    pointers = np.concatenate([[0], np.cumsum([len(index) for index, _ in parts])])
    columns = np.concatenate([index for index, _ in parts])
    encoding = sparse.csr_matrix((np.concatenate([w for _, w in parts]), columns, pointers), shape=(n, n))
    if k2 > 1:
        mean = sparse.csr_matrix(
            (np.full(n * k2, 1 / k2, dtype=np.float32), rank[:, :k2].reshape(-1), np.arange(0, n * k2 + 1, k2)),
            shape=(n, n),
        )
        encoding = (mean @ encoding).tocsr()

    by_column = encoding[n_queries:].tocsc()
    out = np.empty((n_queries, n - n_queries))
    for i in range(n_queries):
        own = encoding[i]
        overlap = np.zeros(n - n_queries)
        for column, value in zip(own.indices, own.data):
            a, b = by_column.indptr[column : column + 2]
            overlap[by_column.indices[a:b]] += np.minimum(by_column.data[a:b], value)
        distance = (1 - x[n_queries:] @ x[i]) / largest[i]
        out[i] = (1 - lam) * (1 - overlap / (2 - overlap)) + lam * distance
    return out
