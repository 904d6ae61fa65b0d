"""Deep_Metric's binomial deviance loss, with the deviations of public ports.

Source: losses/Binomial.py: 1/N sum_i [mean_P log(1 + e^(-2 (s - m))) + mean_Q log(1 + e^(alpha (s - m)))]; mined pairs, with
`hard_mining`: 2/beta mean log(1 + e^(-beta (s - 0.5))) + 2/alpha mean log(1 + e^(alpha (s - 0.5))). Anchors without negatives count 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import softplus
from .pairs import BY_VALUE, COMMON, EXCLUSIVE, mined, over_anchors, pairs, row_mean, row_sum
from .reference import Deviation, Reference

_DEVIATIONS = (
    *COMMON,
    *BY_VALUE,
    Deviation("sums", "positives and negatives of an anchor are summed, not averaged", "both"),
    Deviation(
        "other_factors", "the factors 2/beta and 2/alpha are there without mining, or are missing with it", "both"
    ),
    Deviation("one_slope", "positives have the slope alpha too", "both"),
    Deviation("hinges", "hinges max(0, s - margin) take the place of log(1 + e^...)", "both"),
    Deviation("base_0", "the margin is 0", "both"),
    Deviation("mining_turned", "pairs are mined where the set has no mining, or are not where it has it", "both"),
)


def binomial(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor); `wrong` switches deviations on."""
    x, labels = arguments
    alpha, beta, mine = float(params["alpha"]), float(params["beta"]), bool(params["hard_mining"])
    p = pairs(x, labels, wrong, params.get("cutoff", 1.0))
    positive, negative = p.positive, p.negative
    used: np.ndarray = np.asarray(p.negative.any(1))
    if mine != ("mining_turned" in wrong):
        positive, negative, used = mined(p, params.get("mining margin", 0.1))
    base = 0.0 if "base_0" in wrong else 0.5 if mine else params["margin"]
    slope = beta if mine else 2.0
    if "one_slope" in wrong:
        slope = alpha
    scales = (2 / beta, 2 / alpha) if mine else (1.0, 1.0)
    if "other_factors" in wrong:
        scales = (1.0, 1.0) if mine else (2 / slope, 2 / alpha)
    exponents = -slope * (p.s - base), alpha * (p.s - base)
    attract, repel = (e.clamp(0) if "hinges" in wrong else softplus(e) for e in exponents)
    reduce = row_sum if "sums" in wrong else row_mean
    rows = scales[0] * reduce(attract, positive) + scales[1] * reduce(repel, negative)
    return over_anchors(rows, used, wrong)


REFERENCE = Reference(
    binomial,
    _DEVIATIONS,
    {},
    (*EXCLUSIVE, frozenset(("one_slope", "hinges"))),
    {"alpha": (2, 10, 25, 30, 40, 50), "margin": (0.0, 0.3, 0.4, 0.5, 0.6)},
    {"cutoff": 1.0, "mining margin": 0.1},
    ("hard_mining",),
)
