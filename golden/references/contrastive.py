"""Deep_Metric's contrastive loss on similarities, with the deviations of public ports.

Source: losses/Contrastive.py: 1/N sum_i [sum over positives with s < 1 of (1 - s) + sum over negatives with s > margin of s].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import detach, normalize, where
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("hinge", "a negative adds s - margin, not s", "loss"),
    Deviation("means", "positives and negatives of an anchor are averaged, not summed", "both"),
    Deviation("self_pairs", "an anchor counts as its own positive", "both"),
    Deviation("near_positives", "positives with s >= 1 count too (only the anchor itself is left out)", "both"),
    Deviation("no_margin", "all negatives with s > 0 count", "both"),
    Deviation("squared", "the terms are squared", "both"),
    Deviation("half", "everything is halved", "both"),
    Deviation("each_pair_once", "each pair is counted once, not from both of its ends", "both"),
    Deviation("per_pair", "the sum is divided by the number of pairs, not by N", "both"),
    Deviation("sum_over_anchors", "anchors are summed, not averaged", "both"),
    Deviation("partner_detached", "the partner of a pair is detached"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
)


def contrastive(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor): the gradient is the value's; `wrong` switches deviations on."""
    x, labels = arguments
    margin = 0.0 if "no_margin" in wrong else params["margin"]
    if "normalised_inside" in wrong:
        x = normalize(x)
    s = x @ (detach(x) if "partner_detached" in wrong else x).T
    same = labels[:, None] == labels[None, :]
    itself = np.eye(len(x), dtype=bool)
    others = same & (~itself if "near_positives" in wrong else s < params.get("cutoff", 1.0))
    positive = same if "self_pairs" in wrong else others
    negative = ~same & (s > margin)
    attract, repel = 1 - s, s - margin if "hinge" in wrong else s
    if "squared" in wrong:
        attract, repel = attract.square(), repel.square()
    terms = [where(member, term, 0.0) for member, term in ((positive, attract), (negative, repel))]
    rows = [term.sum(1) for term in terms]
    if "means" in wrong:
        rows = [row / np.maximum(member.sum(1), 1) for row, member in zip(rows, (positive, negative))]
    value = (rows[0] + rows[1]).sum()
    n = len(x)
    value = value / (n * (n - 1) if "per_pair" in wrong else 1 if "sum_over_anchors" in wrong else n)
    if "half" in wrong or "each_pair_once" in wrong:
        value = value / 2
    return value, value


# `half` and `each_pair_once` have the same effect; a diagnosis names the first.
REFERENCE = Reference(
    contrastive,
    tuple(d for d in _DEVIATIONS if d.key != "each_pair_once"),
    {},
    (frozenset(("per_pair", "sum_over_anchors")), frozenset(("self_pairs", "near_positives"))),
    {"margin": (0.1, 0.3, 0.7)},
    {"cutoff": 1.0},
)
