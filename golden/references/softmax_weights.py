"""The releases' weighted softmax losses: class-aware attention, row weights, and the TPAMI release's unified weights.

Source: the layers Softmax, ExtractProb, Gaussian, Normalization, WeightedSoftmaxWithLoss of the OSM + CAA release;
unified_weight_loss_layer.cpp of the TPAMI release. p is the probability of a row's label; weights are constants.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tape import Var
from .common import float32
from .reference import Deviation, Reference

_FLOOR = float(np.finfo(np.float32).tiny)


def _probabilities(logits: Var, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(softmax (N, C), one-hot (N, C), probability of the label (N,)), constants."""
    shifted = np.exp(logits.value - logits.value.max(1, keepdims=True))
    probability = shifted / shifted.sum(1, keepdims=True)
    own = (labels[:, None] == np.arange(logits.shape[1])).astype(float)
    return probability, own, (probability * own).sum(1)


def gaussian(p: np.ndarray, sigma: float, mean: float) -> np.ndarray:
    sigma, mean = float32(sigma), float32(mean)
    return np.exp(-0.5 * ((p - mean) / sigma) ** 2) / math.sqrt(2 * math.pi * sigma**2)


def weighted_softmax(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, surrogate) of (logits, labels, weights): sum of weight * -log p; the floor of p has no part in the gradient."""
    logits, labels, weights = arguments
    probability, own, p = _probabilities(logits, labels)
    count = len(labels) if "mean" in wrong else weights.sum() if "weighted_mean" in wrong else 1
    floor = 0.0 if "no_floor" in wrong else _FLOOR
    value = -(weights * np.log(np.maximum(p, floor))).sum() / count
    return value, (logits * ((probability - own) * weights[:, None] / count)).sum()


def attention(
    arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()
) -> tuple[Any, Any, dict[str, Any]]:
    """(value, surrogate, {"attention"}) of (logits, labels)."""
    logits, labels = arguments
    _, _, p = _probabilities(logits, labels)
    density = gaussian(p, params.get("sigma", 0.18), params.get("mean", 0.5))
    weights = np.full(len(p), 1 / len(p)) if "equal_weights" in wrong else density / (density.sum() + 1e-12)
    if "weights_not_normalised" in wrong:
        weights = density
    trust = gaussian(p, params.get("attention sigma", 0.68), params.get("attention mean", 1.0))
    if "attention_is_p" in wrong:
        trust = p
    value, surrogate = weighted_softmax((logits, labels, weights), {})
    return value, surrogate, {"attention": trust}


def unified(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, surrogate) of (logits, labels): -sum w log p / sum w, w = 2.718281828^(scale p^lamda_p (1 - p)); unit forces."""
    logits, labels = arguments
    probability, own, p = _probabilities(logits, labels)
    exponent = float32(params["scale"]) * p ** float32(params["lamda_p"]) * (1 - p)
    weight = 2.718281828**exponent
    if "equal_weights" in wrong:
        weight = np.ones_like(weight)
    total = weight.sum() + 1e-8
    value = -(weight * np.log(np.maximum(p, _FLOOR))).sum() / total
    unit = (probability - own) / (1.0 if "plain_force" in wrong else (2 - 2 * p + 1e-6)[:, None])
    return value, (logits * (unit * (weight / total)[:, None])).sum()


WEIGHTED = Reference(
    weighted_softmax,
    (
        Deviation("mean", "the sum is divided by N", "both"),
        Deviation("weighted_mean", "the sum is divided by the sum of the weights", "both"),
        Deviation("no_floor", "probabilities below FLT_MIN have no floor in the logarithm", "loss"),
    ),
    {},
    (frozenset(("mean", "weighted_mean")),),
)
CAA = Reference(
    attention,
    (
        Deviation("equal_weights", "all samples weigh the same in the classification loss (1/N)", "both"),
        Deviation("weights_not_normalised", "the Gaussian weights are not divided by their sum", "both"),
        Deviation(
            "attention_is_p", "the attention is the probability itself (the paper), not a Gaussian of it", "output"
        ),
    ),
    {},
    (frozenset(("equal_weights", "weights_not_normalised")),),
    {},
    {"sigma": 0.18, "mean": 0.5, "attention sigma": 0.68, "attention mean": 1.0},
)
UNIFIED = Reference(
    unified,
    (
        Deviation("equal_weights", "all samples weigh the same", "both"),
        Deviation("plain_force", "the force is softmax - onehot, not divided by its length"),
    ),
    {},
    (),
    {"lamda_p": (0.5, 1, 2), "scale": (0.5, 1, 2, 3)},
)
