"""Deep_Metric's two hard-mining losses, with the deviations of public ports.

Source: losses/HardMining.py and losses/triplet.py: 1/N sum_i [mean_P' (1 - s) + mean_Q' s], P' = {s < largest negative + margin},
Q' = {s > smallest positive - margin}. The first drops the anchor by value and always has margin 0.1; the second by index, with
the margin that it is given, and reshapes its pairs.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..tape import where
from .pairs import BY_VALUE, COMMON, EXCLUSIVE, Pairs, over_anchors, pairs, reshaped, row_mean, row_sum
from .reference import Deviation, Reference

_DEVIATIONS = (
    *COMMON,
    Deviation("sums", "the mined pairs of an anchor are summed, not averaged", "both"),
    Deviation("no_miner", "no pairs are mined: all positives and negatives count", "both"),
    Deviation("hardest", "only the hardest positive and the hardest negative count", "both"),
    Deviation("hinge", "a negative adds s - 0.5, not s", "loss"),
    Deviation("squared", "the terms are squared", "both"),
)


def hard_mining(
    arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset(), *, by_index: bool = False
) -> tuple[Any, Any]:
    """(value, the same tensor); `wrong` switches deviations on."""
    x, labels = arguments
    margin = params["margin"] if by_index else params.get("mining margin", 0.1)
    p = pairs(x, labels, wrong, None if by_index else params.get("cutoff", 1.0))
    if by_index:
        p = _in_rows(p)
    top = np.where(p.negative, p.value, -np.inf).max(1, keepdims=True, initial=-np.inf)
    low = np.where(p.positive, p.value, np.inf).min(1, keepdims=True, initial=np.inf)
    positive, negative = p.positive & (p.value < top + margin), p.negative & (p.value > low - margin)
    if "no_miner" in wrong:
        positive, negative = p.positive, p.negative
    if "hardest" in wrong:
        positive, negative = p.positive & (p.value == low), p.negative & (p.value == top)
    attract, repel = 1 - p.s, p.s - 0.5 if "hinge" in wrong else p.s
    if "squared" in wrong:
        attract, repel = attract.square(), repel.square()
    reduce = row_sum if "sums" in wrong else row_mean
    return over_anchors(reduce(attract, positive) + reduce(repel, negative), negative.any(1), wrong)


def _in_rows(p: Pairs) -> Pairs:
    """[positives | negatives] of each reshaped row."""
    attract, repel = reshaped(p.s, p.positive), reshaped(p.s, p.negative)
    width, rest = attract.shape[1], repel.shape[1]
    rows = np.arange(len(p.value))[:, None]
    columns = np.arange(width + rest)[None, :]
    positive = np.broadcast_to(columns < width, (len(rows), width + rest))
    s = where(
        positive,
        attract[rows, np.minimum(columns, width - 1)],
        repel[rows, np.maximum(columns - width, 0)],
    )
    return Pairs(s, s.value, positive, ~positive)


_EXCLUSIVE = (*EXCLUSIVE, frozenset(("no_miner", "hardest")), frozenset(("hinge", "squared")))
BY_VALUE_OF_ANCHOR = Reference(
    hard_mining,
    (*_DEVIATIONS, *(d for d in BY_VALUE if d.key == "self_pairs")),
    {},
    _EXCLUSIVE,
    {},
    {"cutoff": 1.0, "mining margin": 0.1},
)
BY_INDEX = Reference(
    partial(hard_mining, by_index=True), _DEVIATIONS, {}, _EXCLUSIVE, {"margin": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)}
)
