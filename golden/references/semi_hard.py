"""Deep_Metric's semi-hard loss, with the deviations of public ports.

Source: losses/SemiHard.py, as reconstructed: 1/N sum_i [2/beta log(1 + sum_P' e^(-beta (s - 0.5))) + 2/alpha log(1 + sum_Q'
e^(alpha (s - 0.5)))], Q' = {s < largest positive}, P' = {s > smallest negative}. It reshapes its pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import where
from .pairs import COMMON, EXCLUSIVE, over_anchors, pairs, reshaped
from .reference import Deviation, Reference

_DEVIATIONS = (
    *(d for d in COMMON if d.key != "mean_over_used"),
    Deviation("no_selection", "all positives and negatives count", "both"),
    Deviation(
        "hard", "the hard pairs count: negatives above the least positive, positives below the largest negative", "both"
    ),
    Deviation("base_0", "the 0.5 that is taken off the similarities is missing", "both"),
    Deviation("no_factors", "the factors 2/beta and 2/alpha are missing", "both"),
    Deviation("means", "the exponentials are averaged, not summed", "both"),
)


def semi_hard(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor); `wrong` switches deviations on."""
    x, labels = arguments
    alpha, beta = float(params["alpha"]), float(params["beta"])
    p = pairs(x, labels, wrong)
    attract, repel = reshaped(p.s, p.positive), reshaped(p.s, p.negative)
    extremes = [f(part.value, 1, keepdims=True) for part in (attract, repel) for f in (np.min, np.max)]
    least_positive, largest_positive, least_negative, largest_negative = extremes
    keep = [attract > least_negative, repel < largest_positive]
    if "no_selection" in wrong:
        keep = [np.ones(attract.shape, bool), np.ones(repel.shape, bool)]
    if "hard" in wrong:
        keep = [attract < largest_negative, repel > least_positive]
    base = 0.0 if "base_0" in wrong else params.get("base", 0.5)
    rows: Any = 0.0
    for part, member, slope in ((attract, keep[0], -beta), (repel, keep[1], alpha)):
        total = where(member, (slope * (part - base)).exp(), 0.0).sum(1)
        if "means" in wrong:
            total = total / np.maximum(member.sum(1), 1)
        rows = rows + (1.0 if "no_factors" in wrong else 2 / abs(slope)) * (1 + total).log()
    return over_anchors(rows, np.ones(len(labels), bool), wrong)


REFERENCE = Reference(
    semi_hard,
    _DEVIATIONS,
    {},
    (*EXCLUSIVE, frozenset(("no_selection", "hard"))),
    {"alpha": (10, 25, 30, 40, 50), "beta": (1, 2, 10)},
    {"base": 0.5},
)
