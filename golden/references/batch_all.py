"""The batch-all triplet loss of Deep_Metric's older copies, with the deviations of public ports.

Source: losses/BatchAll.py: per anchor the mean over all (positive, negative) of max(0, d_p - d_n + margin), zeros included, then
the mean over the anchors; d = sqrt(max(d^2, 1e-12)). It reshapes its pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import detach, normalize, softplus, where
from .common import squared_differences
from .pairs import reshaped
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("squared_distances", "squared instead of plain distances enter the hinges", "both"),
    Deviation("cosine", "distances are 1 - s, not Euclidean", "both"),
    Deviation("mean_over_active", "the mean is over the non-zero terms of the batch, not over all triplets", "both"),
    Deviation("sum", "the terms are summed", "both"),
    Deviation("sum_over_anchors", "anchors are summed, not averaged", "both"),
    Deviation("soft", "log(1 + e^x) takes the place of the hinge", "both"),
    Deviation("squared_hinges", "the hinges are squared", "both"),
    Deviation("hardest", "only the farthest positive and the nearest negative count (batch hard)", "both"),
    Deviation("self_pairs", "an anchor counts as its own positive", "both"),
    Deviation("partner_detached", "the partner of a pair is detached"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
)


def batch_all(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor); `wrong` switches deviations on."""
    x, labels = arguments
    if "normalised_inside" in wrong:
        x = normalize(x)
    partner = detach(x) if "partner_detached" in wrong else x
    same = labels[:, None] == labels[None, :]
    squared = squared_differences(x, partner)
    far = squared > 1e-12
    distance = where(far, where(far, squared, 1.0).sqrt(), 1e-6)
    if "squared_distances" in wrong:
        distance = squared
    if "cosine" in wrong:
        distance = 1 - x @ partner.T
    own = same if "self_pairs" in wrong else same & ~np.eye(len(labels), dtype=bool)
    attract, repel = reshaped(distance, own), reshaped(distance, ~same)
    n, p, q = len(labels), attract.shape[1], repel.shape[1]
    gap = attract.reshape(n, p, 1) - repel.reshape(n, 1, q) + params["margin"]
    terms = softplus(gap) if "soft" in wrong else gap.clamp(0)
    terms = where(gap > 0, terms, 0.0) if "soft" not in wrong else terms  # a term that is exactly 0 has no gradient
    if "squared_hinges" in wrong:
        terms = terms.square()
    count = n * p * q
    if "mean_over_active" in wrong:
        count = max(int((gap > 0).sum()), 1)
    if "sum" in wrong:
        count = 1
    if "sum_over_anchors" in wrong:
        count = p * q
    if "hardest" in wrong:
        chosen = (attract.value == attract.value.max(1, keepdims=True))[:, :, None]
        chosen = chosen & (repel.value == repel.value.min(1, keepdims=True))[:, None, :]
        terms, count = where(chosen, terms, 0.0), n
    value = terms.sum() / count
    return value, value


REFERENCE = Reference(
    batch_all,
    _DEVIATIONS,
    {"batch all as printed, the mean over violating triplets": frozenset(("mean_over_active",))},
    (
        frozenset(("squared_distances", "cosine")),
        frozenset(("mean_over_active", "sum", "sum_over_anchors", "hardest")),
        frozenset(("soft", "squared_hinges")),
    ),
    {"margin": (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)},
)
