"""Recall@K: the share of queries with an item of their own class among their K nearest neighbours.

The rule for ties decides published digits on collapsed or quantised embeddings, so it has a name:

    "matlab"        a stable sort: of equal scores the lower gallery index comes first. The test scripts of Ranked List
                    Loss and OSM + CAA (`compute_recall_at_K`).
    "optimistic"    a tie counts for the query; also called "strict", after its test "negatives with a strictly greater
                    score". `RetMetric` of research-ms-loss and `recall_at_k.py` of Deep_Metric.
    "pessimistic"   a tie counts against the query: a lower bound for any order.

Recall of the originals that treat the query itself in another way: `ports.metrics.originals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ports.metrics.near import near_counts
from ports.metrics.ranking import Ahead, full_precision, items_ahead

TIES = ("matlab", "optimistic", "strict", "pessimistic")


class RecallResult(dict[int, float]):
    """K -> recall in [0, 1], with the exact counts beside it.

    hits: K -> number of queries with a match among their K nearest. queries: number of queries, those without any
    match in the gallery included (they count as misses). ties: the rule. near: K -> number of queries whose hit at K is
    decided by at most 1e-6, exact ties included (`ports.metrics.near`).
    """

    def __init__(self, hits: dict[int, int], queries: int, ties: str, near: dict[int, int]) -> None:
        super().__init__({k: count / queries for k, count in hits.items()})
        self.hits, self.queries, self.ties, self.near = hits, queries, ties, near

    @classmethod
    def sum(cls, parts: Sequence[RecallResult]) -> RecallResult:
        """The result over all queries from those over disjoint parts of them, as several processes make them."""
        if len({(tuple(part.hits), part.ties) for part in parts}) != 1:
            raise ValueError("recall parts must be of the same K and the same tie rule")
        hits, near = (
            {k: sum(count[k] for count in counts) for k in parts[0].hits}
            for counts in ([part.hits for part in parts], [part.near for part in parts])
        )
        return cls(hits, sum(part.queries for part in parts), parts[0].ties, near)


def recall_at_k(
    embeddings: Any,
    labels: Any,
    ks: Iterable[int],
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    ties: str = "matlab",
    normalize: bool = True,
    query_rows: Any = None,
    device: torch.device | str | None = None,
    cache: int | None = None,
) -> RecallResult:
    """Recall@K with exact hit counts.

    embeddings (N, D), labels (N,): arrays, tensors or memory maps. Every row is a query against all others (itself
    excluded by index), or against `gallery` (M, D) with `gallery_labels` (M,), from which nothing is excluded.
    A query whose class has no other item is a miss at every K, also where K reaches the number of items.
    ks: the K, in any order. ties: one of TIES, see the module.
    normalize: compare cosines of rows divided by their norm in single precision, as the test scripts do (in double
        where the input is double); False: inner products of the rows as they are. A zero row has no cosine: its scores
        are NaN, which sorts last.
    query_rows: row numbers of `embeddings` to use as queries; `RecallResult.sum` puts disjoint parts together.
    device: where to compute; default: where the gallery is. cache: bytes of normalised gallery kept there; default:
        512 MiB on a CPU, half of the free memory on a GPU. A larger gallery is read twice, block by block.

    Time is that of the Q x M x D product; memory O(block + cache), never Q x M. Raises ValueError for shapes that do
    not fit, NaN or infinite features (with their number and the first row) and K < 1.
    """
    ks = [int(k) for k in ks]
    if not ks or min(ks) < 1:
        raise ValueError(f"ks={ks}: expected one or more whole numbers of at least 1")
    ahead = negatives_ahead(
        embeddings,
        labels,
        gallery,
        gallery_labels,
        normalize=normalize,
        query_rows=query_rows,
        device=device,
        cache=cache,
    )
    if ties not in TIES:
        raise ValueError(f"ties={ties!r}: expected one of {', '.join(TIES)}")
    rank = {"matlab": ahead.matlab, "pessimistic": ahead.at_least}.get(ties, ahead.above)
    near = near_counts(ahead.clear, ahead.close, ks)
    return RecallResult({k: int((rank < k).sum()) for k in ks}, len(rank), ties, near)


def negatives_ahead(
    embeddings: Any,
    labels: Any,
    gallery: Any = None,
    gallery_labels: Any = None,
    *,
    normalize: bool = True,
    query_rows: Any = None,
    device: torch.device | str | None = None,
    cache: int | None = None,
) -> Ahead:
    """Per query, the negatives ahead of its best match (0: recall@1 hit), under each tie rule. See `recall_at_k`."""
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("gallery and gallery_labels go together")
    embeddings, labels = _checked(embeddings, labels, "embeddings")
    if gallery is None:
        own = np.arange(len(labels)) if query_rows is None else _labels(query_rows).astype(np.int64)
        queries, target, target_labels = embeddings, embeddings, labels
        labels = labels[own]
    else:
        own = None
        target, target_labels = _checked(gallery, gallery_labels, "gallery")
        if target.shape[1] != embeddings.shape[1]:
            raise ValueError(f"embeddings have {embeddings.shape[1]} dimensions, gallery has {target.shape[1]}")
        if query_rows is not None:
            rows = _labels(query_rows).astype(np.int64)
            embeddings, labels = embeddings[rows], labels[rows]
        queries = embeddings
    if device is None:
        device = target.device if isinstance(target, torch.Tensor) else "cpu"
    device = torch.device(device)
    if cache is None:
        cache = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 2**29
    _, codes = np.unique(np.concatenate([target_labels, labels]), return_inverse=True)
    codes = codes.astype(np.int64)
    split = len(target_labels)
    with torch.no_grad(), torch.autocast(device.type, enabled=False), full_precision():
        return items_ahead(
            queries, codes[split:], target, codes[:split], own, normalize=normalize, device=device, cache=cache
        )


def _labels(labels: Any) -> NDArray[Any]:
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu().numpy()
    return np.asarray(labels).reshape(-1)


def _checked(embeddings: Any, labels: Any, name: str) -> tuple[Any, NDArray[Any]]:
    if not isinstance(embeddings, torch.Tensor):
        embeddings = np.asanyarray(embeddings)
    labels = _labels(labels)
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise ValueError(f"{name}: expected a non-empty (N, D) array, got shape {tuple(embeddings.shape)}")
    if len(embeddings) != len(labels):
        raise ValueError(f"{name}: {len(embeddings)} rows, but {len(labels)} labels")
    return embeddings, labels
