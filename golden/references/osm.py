"""Online Soft Mining as released, with the deviations of public ports.

Source: distance_weighted_valid_pair_loss_V5_layer.cpp and contrastive_loss_layer.cpp: over all P = N(N-1)/2 pairs, weight of a
positive = Gaussian density of d, of a negative = max(0, margin - d), each times the lesser score of the two, normalised to 1/2 over
positives and 1/2 over negatives; force x_i - x_j or -(margin - d)/(d + 1e-4) (x_i - x_j), divided by P once more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..tape import detach, normalize, safe_root, where
from .common import float32
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("no_per_pair", "the extra division by the number of pairs P = N(N-1)/2 is missing (the paper's formula)"),
    Deviation("half_missing_in_gaussian", "the Gaussian lacks its 1/2: exp(-((d - mean)/sigma)^2)"),
    Deviation("variance_is_sigma", "sigma is used as the variance: exp(-(d - mean)^2 / (2 sigma))"),
    Deviation("product_of_scores", "a pair's score is the product of its two samples' scores, not the lesser"),
    Deviation("mean_of_scores", "a pair's score is the mean of its two samples' scores, not the lesser"),
    Deviation("no_scores", "the scores are not used"),
    Deviation("one_normaliser", "positives and negatives share one normaliser"),
    Deviation("no_half", "positives and negatives add up to 1 each, not to 1/2"),
    Deviation("plain_negative_force", "negatives are pushed with a unit vector, without the factor margin - d"),
    Deviation("no_force_epsilon", "1e-4 is not added to the distance in the negatives' force"),
    Deviation("weights_in_graph", "the pair weights stay in the graph (not detached)"),
    Deviation("equal_weights", "all pairs of a kind weigh the same (mining ignored)"),
    Deviation("double_settings", "the settings are doubles, not the float32 numbers that the release stores"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
    Deviation("loss_weighted", "the reported loss is the weighted one", "loss"),
    Deviation("loss_no_half", "the reported loss lacks its 1/2", "loss"),
)


def online_soft_mining(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(reported value, surrogate) of the released layer; `wrong` switches deviations on."""
    x, labels, scores = arguments
    margin, sigma, mean = (params[k] for k in ("margin", "sigma", "mean"))
    if "double_settings" not in wrong:
        margin, sigma, mean = map(float32, (margin, sigma, mean))
    if "normalised_inside" in wrong:
        x = normalize(x)
    first, second = np.triu_indices(len(x), 1)
    difference = x[first] - x[second]
    squared = difference.square().sum(-1)
    distance = safe_root(squared)
    positive = labels[first] == labels[second]
    hinge = (margin - distance).clamp(0)
    pairs = max(len(first), 1)

    score: Any = np.minimum(scores[first], scores[second])
    if "product_of_scores" in wrong:
        score = scores[first] * scores[second]
    if "mean_of_scores" in wrong:
        score = (scores[first] + scores[second]) / 2
    if "no_scores" in wrong:
        score = np.ones_like(score)
    z = (distance - mean) / (math.sqrt(sigma) if "variance_is_sigma" in wrong else sigma)
    density = (-z.square() * (1.0 if "half_missing_in_gaussian" in wrong else 0.5)).exp()
    density = density / math.sqrt(2 * math.pi * sigma**2)
    weight: Any = where(positive, density, hinge)
    if "equal_weights" in wrong:
        weight = where(positive, 1.0, hinge > 0)
    weight = weight * score
    if "weights_in_graph" not in wrong:
        weight = detach(weight)
    sums = [(weight * member).sum() + 1e-12 for member in (positive, ~positive)]
    if "one_normaliser" in wrong:
        sums = [sums[0] + sums[1]] * 2
    weight = weight / where(positive, sums[0], sums[1]) * (1.0 if "no_half" in wrong else 0.5)

    energy = where(positive, squared, hinge.square()) / 2
    added = 0.0 if "no_force_epsilon" in wrong else 1e-4
    push, apart = detach(hinge), np.maximum(detach(distance) + added, 1e-300)
    strength = np.where(detach(distance) > 0, push / apart, 0.0)
    if "plain_negative_force" in wrong:
        strength = np.where((push > 0) & (detach(distance) > 0), 1 / apart, 0.0)
    force = where(positive, squared / 2, -strength * squared / 2)
    force = detach(energy) + force - detach(force)  # the energy's size, the force's direction
    surrogate = (weight * force).sum() / (1 if "no_per_pair" in wrong else pairs)
    value = energy.sum() / pairs
    if "loss_weighted" in wrong:
        value = (weight * energy).sum()
    if "loss_no_half" in wrong:
        value = 2 * value
    return value, surrogate


_FOLK = frozenset(
    (
        "no_per_pair",
        "half_missing_in_gaussian",
        "weights_in_graph",
        "no_force_epsilon",
        "double_settings",
        "loss_weighted",
    )
)
_PAPER = frozenset(("no_per_pair", "no_force_epsilon", "double_settings", "loss_weighted"))
REFERENCE = Reference(
    online_soft_mining,
    _DEVIATIONS,
    {"the paper's formula": _PAPER, "the usual PyTorch port (OSM_CAA_Loss)": _FOLK},
    (
        frozenset(("product_of_scores", "mean_of_scores", "no_scores")),
        frozenset(("half_missing_in_gaussian", "variance_is_sigma", "equal_weights")),
    ),
    {"margin": (0.5, 1.0, 1.2, 1.4), "sigma": (0.18, 0.6, 0.68, 0.8, 1.0), "mean": (0.0, 0.5, 1.0)},
)
