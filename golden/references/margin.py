"""Margin loss on given triplets as research-ms-loss computes it, with the deviations of public ports.

Source: ret_benchmark/losses/margin_loss.py under its pinned torch 1.1: sum over triplets of max(0, d_ap - beta + margin) +
max(0, beta - d_an + margin), d = sqrt(sum (x - y)^2 + 1e-8), divided by the number of non-zero positive terms plus the number
of non-zero negative terms. Of beta per class the anchor's counts. (From torch 1.2 on the same line counts a triplet once.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import Var, detach, normalize, safe_root
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("count_triplets", "a triplet with two non-zero terms counts once (the original's line under torch >= 1.2)", "both"),
    Deviation("mean", "the sum is divided by the number of triplets, not by that of non-zero terms", "both"),
    Deviation("no_division", "the sum is not divided", "both"),
    Deviation("squared_distances", "squared instead of plain distances enter the hinges", "both"),
    Deviation("squared_hinges", "the hinges are squared", "both"),
    Deviation("no_epsilon", "the 1e-8 under the root is missing", "both"),
    Deviation("triplet", "beta cancels: max(0, d_ap - d_an + margin), a triplet loss", "both"),
    Deviation("one_margin", "the negative's hinge has no margin", "both"),
    Deviation("beta_plus", "the boundaries are swapped: the margin loosens them, beta + margin and beta - margin", "both"),
    Deviation("anchor_detached", "the anchor is detached: only positives and negatives move"),
    Deviation("beta_detached", "beta gets no gradient"),
    Deviation("beta_of_negative", "the negative's term takes the negative's class's beta, not the anchor's"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
)  # fmt: skip


def margin_loss(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor) of (x, labels, triplets (T, 3)[, beta (C,)]); `wrong` switches deviations on."""
    x, labels, triplets = arguments[:3]
    if "normalised_inside" in wrong:
        x = normalize(x)
    anchor, positive, negative = (x[triplets[:, k]] for k in range(3))
    if "anchor_detached" in wrong:
        anchor = Var(detach(anchor))
    boundaries: list[Any] = [np.full(len(triplets), params["beta"])] * 2
    if len(arguments) == 4:
        beta = arguments[3]
        beta = detach(beta) + 0 * beta if "beta_detached" in wrong else beta  # zero, so that it can be compared
        of = (0, 2 if "beta_of_negative" in wrong else 0)
        boundaries = [beta[labels[triplets[:, k]]] for k in of]
    epsilon = 0.0 if "no_epsilon" in wrong else 1e-8

    def distance(other: Any) -> Any:
        square = (anchor - other).square().sum(1) + epsilon
        if "squared_distances" in wrong:
            return square
        return safe_root(square)

    d_ap, d_an = distance(positive), distance(negative)
    margin = -params["margin"] if "beta_plus" in wrong else params["margin"]
    attract = (d_ap - boundaries[0] + margin).clamp(0)
    repel = (boundaries[1] - d_an + (0.0 if "one_margin" in wrong else margin)).clamp(0)
    if "triplet" in wrong:
        attract, repel = (d_ap - d_an + margin).clamp(0), 0 * d_an
    if "squared_hinges" in wrong:
        attract, repel = attract.square(), repel.square()
    active = detach(attract) > 0, detach(repel) > 0
    count = int(active[0].sum() + active[1].sum())
    if "count_triplets" in wrong:
        count = int((active[0] | active[1]).sum())
    count = len(triplets) if "mean" in wrong else 1 if "no_division" in wrong else count
    value = (attract + repel).sum() / max(count, 1)
    return value, value


REFERENCE = Reference(
    margin_loss,
    _DEVIATIONS,
    {"pytorch-metric-learning's MarginLoss": frozenset(("no_epsilon", "normalised_inside"))},
    (frozenset(("count_triplets", "mean", "no_division")), frozenset(("triplet", "one_margin", "beta_plus"))),
    {"margin": (0.1, 0.2, 0.3, 0.5), "beta": (0.5, 1.0, 1.2)},
)
