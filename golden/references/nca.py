"""Deep_Metric's NCA loss, with the deviations of public ports.

Source: losses/NCA.py: neighbours of an anchor are its partners with s below the (k+1)-th smallest similarity, and its least
similar positive where no positive is among them; the anchor adds -log(A / (A + C)), A and C the sums of e^(-alpha s) over its
neighbours of the own class and of others; mean over N. The similarity stands where the formula has a distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import log_sum_exp, where
from .pairs import COMMON, EXCLUSIVE, over_anchors, pairs
from .reference import Deviation, Reference

_DEVIATIONS = (
    *(d for d in COMMON if d.key != "mean_over_used"),  # every anchor counts; and its own pair is never a neighbour
    Deviation(
        "sign", "the sign of the similarity is turned round: near positives are wanted, as the formula means it", "both"
    ),
    Deviation("all_partners", "all partners are neighbours (no k)", "both"),
    Deviation("no_fallback", "an anchor without a positive among its neighbours adds 0", "both"),
    Deviation("expected", "an anchor adds 1 - p, not -log p", "both"),
    Deviation("negatives_only", "the denominator has only the negatives", "both"),
)


def nca(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor); `wrong` switches deviations on."""
    x, labels = arguments
    p = pairs(x, labels, wrong, params.get("cutoff", 1.0))
    among = p.positive | p.negative
    smallest = np.sort(np.where(among, p.value, np.inf), 1)
    k = params["k"]
    if k >= smallest.shape[1]:
        raise ValueError(f"k = {k} needs more than {smallest.shape[1]} partners")
    near = among if "all_partners" in wrong else among & (p.value < smallest[:, k : k + 1])
    least = np.where(p.positive, p.value, np.inf)
    fallback = (
        p.positive & (np.arange(len(near)) == least.argmin(1)[:, None]) & ~(near & p.positive).any(1, keepdims=True)
    )
    if "no_fallback" in wrong:
        fallback = np.zeros_like(fallback)
    exponent = (1.0 if "sign" in wrong else -1.0) * float(params["alpha"]) * p.s
    own = log_sum_exp(exponent, (near & p.positive) | fallback)
    others = near & p.negative
    every = log_sum_exp(exponent, others if "negatives_only" in wrong else others | (near & p.positive) | fallback)
    used = ((near & p.positive) | fallback).any(1) & (others.any(1) | ("negatives_only" not in wrong))
    rows = where(used, every, 0.0) - where(used, own, 0.0)
    if "expected" in wrong:
        rows = 1 - (-rows).exp()
    return over_anchors(rows, used, wrong)


REFERENCE = Reference(
    nca,
    _DEVIATIONS,
    {"neighbourhood components as the paper means them": frozenset(("sign", "all_partners"))},
    (*EXCLUSIVE, frozenset(("expected", "negatives_only"))),
    {"alpha": (1, 10, 16, 30, 40), "k": (3, 4, 5, 6, 8, 10, 16, 32)},
    {"cutoff": 1.0},
    counts=("k",),
)
