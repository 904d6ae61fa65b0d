"""Normalised softmax as classification_metric_learning computes it, with the deviations of public ports.

Source: metric_learning/modules/losses.py: logits = x . w / max(|w|, 1e-12) / T; mean cross entropy; x is used as it comes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import detach, log_sum_exp, normalize
from .common import squared_differences
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
    Deviation("raw_proxies", "the proxies are not normalised", "both"),
    Deviation(
        "proxies_twice",
        "the proxies are normalised twice: a zero row's gradient is divided by 1e-24, not 1e-12",
        "both",
    ),
    Deviation("multiplied", "logits are multiplied by the temperature, not divided", "both"),
    Deviation("sum", "the cross entropy is summed over the batch, not averaged", "both"),
    Deviation("squared_distances", "logits are negative squared distances, not cosines", "both"),
    Deviation("others_only", "the denominator leaves out the sample's own class", "both"),
    Deviation("smoothing", "labels are smoothed by 0.1", "both"),
    Deviation("proxies_detached", "the proxies are detached: they are not trained"),
)


def norm_softmax(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor) of (x, labels, proxies): the gradient is the value's; `wrong` switches deviations on."""
    x, labels, proxies = arguments
    if "proxies_detached" in wrong:
        proxies = detach(proxies) + 0 * proxies  # a gradient of zero, so that it can be compared
    w = proxies if "raw_proxies" in wrong else normalize(proxies)
    if "proxies_twice" in wrong:
        w = normalize(w)
    if "normalised_inside" in wrong:
        x = normalize(x)
    cosines = x @ w.T
    if "squared_distances" in wrong:
        cosines = -squared_differences(x, w)
    logits = cosines * params["temperature"] if "multiplied" in wrong else cosines / params["temperature"]
    own = labels[:, None] == np.arange(len(w))
    below = ~own if "others_only" in wrong else np.ones_like(own)
    right = (logits * own).sum(1)
    if "smoothing" in wrong:
        right = 0.9 * right + 0.1 * logits.mean(1)
    terms = log_sum_exp(logits, below) - right
    value = terms.sum() if "sum" in wrong else terms.mean()
    return value, value


REFERENCE = Reference(
    norm_softmax,
    _DEVIATIONS,
    {"pytorch-metric-learning's NormalizedSoftmaxLoss": frozenset(("normalised_inside", "proxies_twice"))},
    (frozenset(("raw_proxies", "squared_distances")), frozenset(("raw_proxies", "proxies_twice"))),
    {"temperature": (0.05, 0.1, 0.07, 1 / 16, 1 / 30, 1 / 32, 1 / 64, 1.0)},
)
