"""Deep_Metric's weighting loss, with the deviations of public ports.

Source: losses/Weight.py of its older copies: 1/N sum_i [2/beta log(1 + sum_P e^(-beta (s - 0.5))) + 2/alpha log(1 + sum_Q
e^(alpha (s - 0.5)))], over mined pairs with `hard_mining`: then twice the Multi-Similarity loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .pairs import BY_VALUE, COMMON, EXCLUSIVE, mined, over_anchors, pairs, row_mean, row_sum
from .reference import Deviation, Reference

_DEVIATIONS = (
    *(d for d in COMMON if d.key != "mean_over_used"),
    *BY_VALUE,
    Deviation("base_0", "the 0.5 that is taken off the similarities is missing", "both"),
    Deviation("no_factors", "the factors 2/beta and 2/alpha are missing", "both"),
    Deviation("means", "the exponentials are averaged, not summed", "both"),
    Deviation("mining_turned", "pairs are mined where the set has no mining, or are not where it has it", "both"),
)


def weight(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor); `wrong` switches deviations on."""
    x, labels = arguments
    alpha, beta = float(params["alpha"]), float(params["beta"])
    p = pairs(x, labels, wrong, params.get("cutoff", 1.0))
    positive, negative, used = p.positive, p.negative, np.ones(len(labels), bool)
    if bool(params["hard_mining"]) != ("mining_turned" in wrong):
        positive, negative, used = mined(p, params.get("mining margin", 0.1))
    base = 0.0 if "base_0" in wrong else params.get("base", 0.5)
    reduce = row_mean if "means" in wrong else row_sum
    rows: Any = 0.0
    for slope, member in ((-beta, positive), (alpha, negative)):
        scale = 1.0 if "no_factors" in wrong else 2 / abs(slope)
        rows = rows + scale * (1 + reduce((slope * (p.s - base)).exp(), member)).log()
    return over_anchors(rows, used, wrong)


REFERENCE = Reference(
    weight,
    _DEVIATIONS,
    {"the Multi-Similarity loss (half of it)": frozenset(("half",))},
    EXCLUSIVE,
    {"alpha": (10, 25, 30, 40, 50), "beta": (1, 2, 10)},
    {"cutoff": 1.0, "mining margin": 0.1, "base": 0.5},
    ("hard_mining",),
)
