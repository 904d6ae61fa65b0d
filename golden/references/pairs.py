"""What Deep_Metric's losses on similarities share: who is a positive, which pairs are mined, how anchors are summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tape import Var, detach, normalize, safe_root, where
from .common import squared_differences
from .reference import Deviation

COMMON = (
    Deviation("euclidean", "similarities are minus Euclidean distances, not inner products", "both"),
    Deviation("squared_euclidean", "similarities are minus squared Euclidean distances, not inner products", "both"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
    Deviation("partner_detached", "the partner of a pair is detached"),
    Deviation("sum_over_anchors", "anchors are summed, not averaged", "both"),
    Deviation("mean_over_used", "the sum is divided by the number of anchors that count, not by N", "both"),
    Deviation("half", "everything is halved", "both"),
)
#: for losses that drop the anchor by the value of its similarity
BY_VALUE = (
    Deviation("self_pairs", "an anchor counts as its own positive", "both"),
    Deviation("near_positives", "positives with s >= 1 count too (only the anchor itself is left out)", "both"),
)
EXCLUSIVE = (
    frozenset(("euclidean", "squared_euclidean")),
    frozenset(("sum_over_anchors", "mean_over_used")),
    frozenset(("self_pairs", "near_positives")),
)


@dataclass
class Pairs:
    """s: (N, N) similarities; value: the same without a graph; positive, negative: (N, N) bool."""

    s: Var
    value: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


def pairs(x: Any, labels: np.ndarray, wrong: frozenset[str], cutoff: float | None = None) -> Pairs:
    """Without a `cutoff` the anchor is left out by its index, with one every positive that is not below it."""
    if "normalised_inside" in wrong:
        x = normalize(x)
    partner = detach(x) if "partner_detached" in wrong else x
    s = x @ partner.T
    if wrong & {"euclidean", "squared_euclidean"}:
        squared = squared_differences(x, partner)
        s = -squared if "squared_euclidean" in wrong else -safe_root(squared)
    same = labels[:, None] == labels[None, :]
    value = detach(s)
    by_index = cutoff is None or wrong & {"near_positives", "euclidean", "squared_euclidean"}
    positive = same & (~np.eye(len(labels), dtype=bool) if by_index else value < cutoff)
    if "self_pairs" in wrong:
        positive = same
    return Pairs(s, value, positive, ~same)


def mined(p: Pairs, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(positives, negatives, anchors with both) within `epsilon` of the hardest pair of the other kind."""
    hardest_positive = np.where(p.positive, p.value, np.inf).min(1, keepdims=True, initial=np.inf)
    hardest_negative = np.where(p.negative, p.value, -np.inf).max(1, keepdims=True, initial=-np.inf)
    positive = p.positive & (p.value - epsilon < hardest_negative)
    negative = p.negative & (p.value + epsilon > hardest_positive)
    return positive, negative, positive.any(1) & negative.any(1)


def row_sum(term: Any, member: np.ndarray) -> Var:
    """(N,) sums over the members of each row."""
    return where(member, term, 0.0).sum(1)


def row_mean(term: Any, member: np.ndarray) -> Var:
    """(N,) means; 0 for a row without members."""
    return row_sum(term, member) / np.maximum(member.sum(1), 1)


def over_anchors(rows: Var, used: np.ndarray, wrong: frozenset[str]) -> tuple[Var, Var]:
    """(value, the same): the used anchors' sum over N."""
    n = len(used)
    if "sum_over_anchors" in wrong:
        n = 1
    if "mean_over_used" in wrong:
        n = max(int(used.sum()), 1)
    value = where(used, rows, 0.0).sum() / (2 * n if "half" in wrong else n)
    return value, value


def reshaped(matrix: Var, member: np.ndarray) -> Var:
    """(N, M) the members of the whole matrix, row by row, cut into N rows of one length, as the originals reshape them.

    Of classes of unequal sizes some batches divide all the same and mix pairs of several anchors. ValueError where none can.
    """
    found = np.flatnonzero(member)
    n = len(member)
    if len(found) % n or not len(found):
        raise ValueError(f"{len(found)} pairs cannot be reshaped to {n} rows")
    return matrix.reshape(-1)[found].reshape(n, -1)
