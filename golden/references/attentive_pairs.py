"""The weighted pair losses beside Online Soft Mining in the OSM + CAA release.

Source: distance_weighted_valid_pair_loss{,_V2,_V3,_V4}_layer.cpp, weighted_pair_loss_layer.cpp, weighted_valid_pair_loss_layer.cpp,
weighted_contrastive_loss_layer.cpp, ohpm_weighted_pair_loss_layer.cpp. Value: the plain contrastive loss. Gradient: each pair
pushes with its weight over the sum of all, times 1/P, times x_i - x_j or -(margin - d)/(d + 1e-4) (x_i - x_j).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..tape import detach, normalize, safe_root, where
from .common import float32, squared_differences
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("no_per_pair", "the extra division by the number of pairs is missing"),
    Deviation("product_of_scores", "a pair's score is the product of its two samples' scores, not the lesser"),
    Deviation("no_scores", "the scores are not used"),
    Deviation("no_force_epsilon", "1e-4 is not added to the distance in the negatives' force"),
    Deviation("double_settings", "the settings are doubles, not the float32 numbers that the release stores"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
    Deviation("loss_no_half", "the reported loss lacks its 1/2", "loss"),
)
KINDS = ("V", "V2", "V3", "V4", "weighted_valid_pair", "weighted_pair", "hardest")


def attentive_pairs(
    arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset(), *, kind: str
) -> tuple[Any, Any]:
    """(reported value, surrogate) of one of `KINDS`; `wrong` switches deviations on."""
    x, labels, scores = arguments
    margin = params["margin"] if "double_settings" in wrong else float32(params["margin"])
    if "normalised_inside" in wrong:
        x = normalize(x)
    n = len(labels)
    same = labels[:, None] == labels[None, :]
    positive, negative = same & ~np.eye(n, dtype=bool), ~same
    squared = squared_differences(x, x)
    distance = safe_root(squared)
    hinge = (margin - distance).clamp(0)
    count = max(n * (n - 1), 1)
    energy = where(positive, squared, where(negative, hinge.square(), 0.0))
    value = energy.sum() / (count if "loss_no_half" in wrong else 2 * count)

    weight = _weights(kind, detach(squared), detach(hinge), positive, negative) * (positive | negative)
    if "no_scores" not in wrong:
        pair = (scores[:, None], scores[None, :])
        weight = weight * (pair[0] * pair[1] if "product_of_scores" in wrong else np.minimum(*pair))
    ordered = kind in ("weighted_pair", "hardest")
    sums = [(weight * member).sum() for member in (positive, negative)]
    if kind == "V4":
        totals = [2 * (part / 2 + 1e-12) for part in sums]
    else:
        whole = sum(sums)
        totals = [whole + 1e-12 if ordered else whole / 2 + 1e-12] * 2
    strength = detach(hinge) / (detach(distance) + (1e-300 if "no_force_epsilon" in wrong else 1e-4))
    force = where(positive, squared, -strength * squared) * 0.5 * weight / np.where(positive, *totals)
    return value, force.sum() / (1 if "no_per_pair" in wrong else count)


def _weights(
    kind: str, squared: np.ndarray, hinge: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> np.ndarray:
    if kind in ("V", "V4"):
        return np.where(positive, np.sqrt(squared), hinge)
    if kind in ("V2", "V3"):
        squares = np.where(positive, squared, np.square(hinge))
        return squares if kind == "V2" else (squares > 1e-4).astype(float)
    if kind == "hardest":  # strict searches: d^2 > 0 for a positive, d^2 < 4 for a negative; the first of equals
        columns = np.arange(len(squared))
        members = positive & (squared > 0), negative & (squared < 4)
        chosen = np.where(members[0], squared, -np.inf).argmax(1), np.where(members[1], squared, np.inf).argmin(1)
        return sum((m & (columns == c[:, None])).astype(float) for m, c in zip(members, chosen))  # type: ignore[return-value]
    return np.ones_like(squared)


def reference(kind: str) -> Reference:
    """The reference of one of `KINDS`."""
    return Reference(
        partial(attentive_pairs, kind=kind), _DEVIATIONS, {}, (frozenset(("product_of_scores", "no_scores")),),
        {"margin": (0.3, 0.5, 1.0, 1.2, 1.4)},
    )  # fmt: skip
