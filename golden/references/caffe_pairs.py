"""Caffe's losses on given pairs and triplets, as the releases have them.

Source: contrastive_loss_layer.cpp, triplet_loss_layer.cpp of the OSM + CAA release; contrastive_loss_layer_V2.cpp of RLL's.
"""

from __future__ import annotations

from typing import Any

from ..tape import detach, safe_root, where
from .common import float32
from .reference import Deviation, Reference

_DOUBLE = Deviation(
    "double_settings", "the settings are doubles, not the float32 numbers that the release stores", "both"
)


def contrastive(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, surrogate) of (a, b, similar): 1/(2N) of d^2 or max(0, margin - d)^2; negatives' force over d + 1e-4."""
    a, b, similar = arguments
    margin = params["margin"] if "double_settings" in wrong else float32(params["margin"])
    squared = (a - b).square().sum(1)
    distance = safe_root(squared)
    hinge = (margin - squared).clamp(0) if params["legacy_version"] else (margin - distance).clamp(0)
    terms = hinge if params["legacy_version"] else hinge.square()
    near = similar != 0
    count = 1 if "sum" in wrong else len(near)
    half = 1 if "no_half" in wrong else 2
    value = where(near, squared, terms).sum() / (half * count)
    strength = detach(hinge) / (detach(distance) + (1e-300 if "no_epsilon" in wrong else 1e-4))
    if params["legacy_version"]:
        strength = (detach(hinge) > 0).astype(float)
    return value, where(near, squared, -strength * squared).sum() / (half * count)


def contrastive_v2(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, surrogate) of (a, b, similar): the mean of squared hinges; a plain, unweighted force where they are active."""
    a, b, similar = arguments
    margin, gap = params["margin"], params["pn_margin"]
    if "double_settings" not in wrong:
        margin, gap = float32(margin), float32(gap)
    squared = (a - b).square().sum(1)
    distance = safe_root(squared)
    attract = (distance - (margin - gap)).clamp(0)
    repel = (margin - squared).clamp(0) if params["legacy_version"] else (margin - distance).clamp(0)
    near = similar != 0
    count = 1 if "sum" in wrong else len(near)
    value = where(near, attract.square(), repel if params["legacy_version"] else repel.square()).sum() / count
    active = where(near, attract, repel) > 0
    force = where(near, squared, -squared) * active / 2
    return value, force.sum() / (count if "force_averaged" in wrong else 1)


def triplet(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor) of (a, p, n): 1/(2N) of max(0, |a - p|^2 - |a - n|^2 + margin)."""
    a, p, n = arguments
    margin = params["margin"] if "double_settings" in wrong else float32(params["margin"])
    near, far = (a - p).square().sum(1), (a - n).square().sum(1)
    if "plain_distances" in wrong:
        near, far = safe_root(near), safe_root(far)
    count = (1 if "no_half" in wrong else 2) * (1 if "sum" in wrong else len(a))
    value = (near - far + margin).clamp(0).sum() / count
    return value, value


_SUM = Deviation("sum", "the terms are summed, not averaged", "both")
_NO_HALF = Deviation("no_half", "the factor 1/2 is missing", "both")
CONTRASTIVE = Reference(
    contrastive, (_SUM, _NO_HALF, Deviation("no_epsilon", "1e-4 is not added to the distance in the negatives' force"), _DOUBLE), {},
    (), {"margin": (0.5, 1.0, 1.2, 1.4)}, {"legacy_version": False}, ("legacy_version",),
)  # fmt: skip
CONTRASTIVE_V2 = Reference(
    contrastive_v2, (Deviation("sum", "the terms are summed, not averaged", "loss"),
                     Deviation("force_averaged", "the force is divided by the number of pairs"), _DOUBLE), {},
    (), {"margin": (1.0, 1.2, 1.4), "pn_margin": (0.2, 0.4)}, {"legacy_version": False}, ("legacy_version",),
)  # fmt: skip
TRIPLET = Reference(
    triplet, (_SUM, _NO_HALF, Deviation("plain_distances", "plain instead of squared distances enter the hinges", "both")), {},
    (), {"margin": (0.1, 0.2, 0.5, 1.0)},
)  # fmt: skip
