"""Multi-Similarity loss as research-ms-loss computes it, with the deviations of public ports.

Source: ret_benchmark/losses/multi_similarity_loss.py: S = X X^T; positives S < 1 - 1e-5, negatives; mined with margin 0.1;
1/N sum_i [1/a log(1 + sum e^{-a (S - lambda)}) + 1/b log(1 + sum e^{b (S - lambda)})]; anchors without a kept pair add 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import detach, normalize, where
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("no_miner", "no pairs are mined: all positives and negatives count", "both"),
    Deviation("near_positives", "positives with s >= 1 - 1e-5 count too (only the anchor itself is left out)", "both"),
    Deviation("self_pairs", "an anchor counts as its own positive", "both"),
    Deviation("base_1", "the base lambda is 1, not the set's", "both"),
    Deviation("base_half", "the base lambda is 0.5, not the set's", "both"),
    Deviation("beta_50", "beta is 50, not the set's", "both"),
    Deviation("beta_40", "beta is 40, not the set's", "both"),
    Deviation("alpha_1", "alpha is 1, not the set's", "both"),
    Deviation("no_one", "the 1 in log(1 + sum) is missing", "both"),
    Deviation("no_scale", "the factors 1/alpha and 1/beta are missing", "both"),
    Deviation("mean_over_kept", "the sum is divided by the number of anchors that kept pairs, not by N", "both"),
    Deviation("sum_over_anchors", "anchors are summed, not averaged", "both"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
    Deviation("mining_margin_0", "the mining margin is 0, not 0.1", "both"),
)


def multi_similarity(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor): the gradient is the value's; `wrong` switches deviations on."""
    x, labels = arguments
    alpha, beta, base = params["SCALE_POS"], params["SCALE_NEG"], params["thresh"]
    alpha = 1.0 if "alpha_1" in wrong else alpha
    beta = 50.0 if "beta_50" in wrong else 40.0 if "beta_40" in wrong else beta
    base = 1.0 if "base_1" in wrong else 0.5 if "base_half" in wrong else base
    epsilon = 0.0 if "mining_margin_0" in wrong else params["margin"]
    if "normalised_inside" in wrong:
        x = normalize(x)
    s = x @ x.T
    same = labels[:, None] == labels[None, :]
    itself = np.eye(len(x), dtype=bool)
    value = detach(s)
    positive = same & (~itself if "near_positives" in wrong else value < params.get("cutoff", 1 - 1e-5))
    if "self_pairs" in wrong:
        positive = same
    negative = ~same
    kept = np.ones(len(x), bool)
    if "no_miner" not in wrong:
        hardest_positive = np.where(positive, value, np.inf).min(1, initial=np.inf, keepdims=True)
        hardest_negative = np.where(negative, value, -np.inf).max(1, initial=-np.inf, keepdims=True)
        positive = positive & (value - epsilon < hardest_negative)
        negative = negative & (value + epsilon > hardest_positive)
        kept = positive.any(1) & negative.any(1)
    one = 0.0 if "no_one" in wrong else 1.0
    attract = one + where(positive, (-alpha * (s - base)).exp(), 0.0).sum(1)
    repel = one + where(negative, (beta * (s - base)).exp(), 0.0).sum(1)
    if "no_one" in wrong:
        attract = where(positive.any(1), attract, 1.0)
        repel = where(negative.any(1), repel, 1.0)
    scale_p, scale_n = (1.0, 1.0) if "no_scale" in wrong else (1 / alpha, 1 / beta)
    losses = where(kept, scale_p * attract.log() + scale_n * repel.log(), 0.0)
    count = int(kept.sum()) if "mean_over_kept" in wrong else 1 if "sum_over_anchors" in wrong else len(x)
    total = losses.sum() / max(count, 1)
    return total, total


REFERENCE = Reference(
    multi_similarity,
    _DEVIATIONS,
    {
        "pytorch-metric-learning's default (no miner, normalised)": frozenset(
            ("no_miner", "near_positives", "normalised_inside", "beta_50", "base_half")
        ),
        "the same without normalisation": frozenset(("no_miner", "near_positives", "beta_50", "base_half")),
    },
    (
        frozenset(("base_1", "base_half")),
        frozenset(("near_positives", "self_pairs")),
        frozenset(("beta_50", "beta_40")),
        frozenset(("mean_over_kept", "sum_over_anchors")),
    ),
    {"SCALE_POS": (1, 2), "SCALE_NEG": (40, 50), "thresh": (0.0, 0.5, 1.0), "margin": (0.0, 0.1, 0.2)},
    {"cutoff": 1 - 1e-5},
)
