"""Deep_Metric's form of the lifted structure loss, with the deviations of public ports.

Source: losses/LiftedStructure.py: 1/N sum_i [2/beta log sum_P e^(-beta s) + 2/alpha log sum_Q e^(alpha s)], over mined pairs with
`hard_mining`. No margin, no hinge, no square.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import log_sum_exp, softplus, where
from .pairs import BY_VALUE, COMMON, EXCLUSIVE, mined, over_anchors, pairs
from .reference import Deviation, Reference

_DEVIATIONS = (
    *COMMON,
    *BY_VALUE,
    Deviation("hinge", "an anchor's term is cut at 0", "both"),
    Deviation("squared_hinge", "an anchor's term is cut at 0 and squared", "both"),
    Deviation("plus_one", "1 is added to both sums, log(1 + sum)", "both"),
    Deviation("no_factors", "the factors 2/beta and 2/alpha are missing", "both"),
    Deviation("hardest", "the hardest pairs take the place of log sum exp", "both"),
    Deviation("mining_turned", "pairs are mined where the set has no mining, or are not where it has it", "both"),
)


def lifted(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor); `wrong` switches deviations on."""
    x, labels = arguments
    alpha, beta = float(params["alpha"]), float(params["beta"])
    p = pairs(x, labels, wrong, params.get("cutoff", 1.0))
    positive, negative = p.positive, p.negative
    used: np.ndarray = np.asarray(p.negative.any(1))
    if bool(params["hard_mining"]) != ("mining_turned" in wrong):
        positive, negative, used = mined(p, params.get("mining margin", 0.1))
    sums = []
    for exponent, member in ((-beta * p.s, positive), (alpha * p.s, negative)):
        if "hardest" in wrong:
            top = where(member, exponent, -1e30).value
            member = member & (top == top.max(1, keepdims=True))
        row = log_sum_exp(exponent, member)
        row = where(member.any(1), row, 0.0) if wrong & {"plus_one"} else row
        sums.append(softplus(row) if "plus_one" in wrong else row)
    scales = (1.0, 1.0) if "no_factors" in wrong else (2 / beta, 2 / alpha)
    rows = scales[0] * where(used, sums[0], 0.0) + scales[1] * where(used, sums[1], 0.0)
    if wrong & {"hinge", "squared_hinge"}:
        rows = rows.clamp(0)
    if "squared_hinge" in wrong:
        rows = rows.square()
    return over_anchors(rows, used, wrong)


REFERENCE = Reference(
    lifted,
    _DEVIATIONS,
    {},
    (*EXCLUSIVE, frozenset(("hinge", "squared_hinge")), frozenset(("plus_one", "hardest"))),
    {"alpha": (10, 25, 30, 40, 50), "beta": (1, 2, 10)},
    {"cutoff": 1.0, "mining margin": 0.1},
    ("hard_mining",),
)
