"""Recall@K of two Python originals, which treat the query's own entry by its value instead of its index.

Both count a hit when fewer than K negatives have a strictly greater inner product than a threshold taken from the
query's own class, so ties count for the query. With distinct, normalised embeddings and two or more items in every class
they agree with `ports.metrics.retrieval.recall_at_k(ties="optimistic")`. Where they differ, the difference is theirs:

    RetMetric (research-ms-loss, `ret_metric.py`)       the threshold is the second largest score of the class, the largest
        being taken for the query itself. Without normalisation another item may score higher than the query itself.
    recall_at_k (Deep_Metric, `recall_at_k.py`)         the identity is subtracted from the scores, and the query stays a
        match, with a score near 0 for unit rows: a class of one item becomes a hit as soon as fewer than K negatives
        have a positive score, and queries whose matches all have negative scores are rescued.

The classification baseline's `evaluate_recall_at_k` skips the query by index: `recall_at_k(ties="matlab",
normalize=False)` equals it, except that it reads the last label for the missing neighbours of a gallery of fewer than
1,001 items, which is not ported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ports.metrics.finite import check_rows
from ports.metrics.near import NEAR, near_counts
from ports.metrics.retrieval import RecallResult


def _codes(*labels: Any) -> list[Tensor]:
    arrays = [np.asarray(x.cpu() if isinstance(x, Tensor) else x).reshape(-1) for x in labels]
    codes = np.unique(np.concatenate(arrays), return_inverse=True)[1].astype(np.int64)
    return list(torch.from_numpy(codes).split([len(x) for x in arrays]))


def _rows(embeddings: Any, name: str = "embeddings") -> Tensor:
    x = torch.as_tensor(embeddings)
    check_rows(x, name)
    return x


def _unit(embeddings: Any, name: str = "embeddings") -> Tensor:
    x = torch.as_tensor(embeddings)
    check_rows(x, name, directions=True)
    return x / x.norm(dim=1, keepdim=True)


def _recall(ks: Iterable[int], x: Tensor, labels: Any, g: Tensor, gallery_labels: Any, place: int, minus_eye: bool):
    """place: the threshold is the place-th largest score of the own class (1: the largest)."""
    y, gy = _codes(labels, gallery_labels)
    ks, found = [int(k) for k in ks], []
    rows = max(2**24 // len(g), 1)
    exact = torch.promote_types(x.dtype, torch.float32)  # for sums of ones
    for start in range(0, len(x), rows):
        scores = x[start : start + rows] @ g.T
        if minus_eye:
            scores.diagonal(start)[: len(scores)] -= 1
        match = (y[start : start + rows, None] == gy[None, :]).to(scores.device)
        own = scores.masked_fill(~match, -torch.inf)
        # torch's topk has no trouble with a class smaller than `place`: the filler is -inf, a threshold that all pass.
        threshold = own.topk(min(place, len(g)), dim=1).values[:, -1:]
        others = scores.masked_fill_(match, torch.nan)  # no comparison counts a match
        # As `ranking` counts: two comparisons, into a buffer of the scores' type, and a third of the few rows where they differ.
        close = torch.ge(others, threshold - NEAR, out=own).sum(1, dtype=exact).long()
        clear = torch.gt(others, threshold + NEAR, out=own).sum(1, dtype=exact).long()
        rank = clear.clone()
        unsure = (close > clear).nonzero().view(-1)
        rank[unsure] = (others[unsure] > threshold[unsure]).sum(1)
        never = match.sum(1) < place
        found.append(torch.stack([rank, clear, close]).masked_fill(never, torch.iinfo(torch.int64).max))
    rank, clear, close = torch.cat(found, dim=1)
    hits = {k: int((rank < k).sum()) for k in ks}
    return RecallResult(hits, len(rank), "optimistic", near_counts(clear, close, ks))


def ret_metric_recall(
    embeddings: Any, labels: Any, ks: Iterable[int], *, gallery: Any = None, gallery_labels: Any = None
) -> RecallResult:
    """`RetMetric.recall_k`: inner products of the rows as given, (N, D) against each other or against `gallery`.

    A query without a match is a miss here; the original raises IndexError (class of one) or ValueError (class absent).
    Raises ValueError for rows that are not finite: the original calls NaN a hit.
    """
    x = _rows(embeddings)
    if gallery is None:
        return _recall(ks, x, labels, x, labels, 2, False)
    return _recall(ks, x, labels, _rows(gallery, "gallery"), gallery_labels, 1, False)


def deep_metric_recall(
    embeddings: Any, labels: Any, ks: Iterable[int], *, gallery: Any = None, gallery_labels: Any = None
) -> RecallResult:
    """`Recall_at_ks`: as `ret_metric_recall`, but on cosines minus the identity, with the query among its matches.

    A query whose class is absent from `gallery` is a miss here; the original raises ValueError.
    Raises ValueError for rows that are not finite or zero (a zero row's cosine is NaN): the original calls NaN a hit.
    """
    x = _unit(embeddings)
    if gallery is None:
        return _recall(ks, x, labels, x, labels, 1, True)
    return _recall(ks, x, labels, _unit(gallery, "gallery"), gallery_labels, 1, False)
