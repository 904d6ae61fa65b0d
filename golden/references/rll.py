"""Ranked List Loss as the two releases compute it, with the deviations of public ports.

Source: distance_weighted_valid_pair_loss_V12_layer.cpp and contrastive_loss_layer_V2.cpp of both releases, as formulas:
d distance, near/far boundaries, h hinge, w = 2.71828^(T h) for h > 0; per anchor i the sums S+ and S- of its w (start 1e-8);
i's share = (S+ + S-) / sum over all anchors; pair (i, j) pushes x_i by share_i / 2 * w / S * (x_i - x_j).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ..tape import detach, normalize, safe_root, where
from .common import float32, squared_differences
from .reference import Deviation, Reference

_COMMON = (
    Deviation(
        "weights_in_graph", "the pair weights stay in the graph (not detached), so that they are differentiated too"
    ),
    Deviation("partner_in_graph", "the partner of a pair is not detached: an anchor's loss also moves the others"),
    Deviation("anchor_mean", "anchors are averaged plainly (1/N), instead of weighted by their summed pair weights"),
    Deviation("anchor_sum", "anchors are summed plainly, instead of weighted by their summed pair weights"),
    Deviation("share_in_graph", "the anchors' shares stay in the graph"),
    Deviation("epsilon_each", "1e-5 is added to every weight of a row, instead of 1e-8 to the sum"),
    Deviation("base_e", "the weights are exp(T*h), not 2.71828^(T*h)"),
    Deviation("no_half", "a factor 1/2 is missing (of the positives' and negatives' halves, or of d^2/2)"),
    Deviation("per_pair", "everything is divided by the number of pairs N(N-1)/2"),
    Deviation("double_settings", "the settings are doubles, not the float32 numbers that the release stores"),
    Deviation("squared_distance", "squared instead of plain distances enter the hinges"),
    Deviation("normalised_inside", "embeddings are L2-normalised inside the loss", "both"),
    Deviation("equal_weights", "all active pairs weigh the same (temperatures ignored)"),
    Deviation("one_normaliser", "positives and negatives of an anchor share one normaliser"),
    Deviation("all_positives", "positives are averaged over all of them, not over the active ones"),
    Deviation("swapped_temperatures", "T_p and T_n are swapped"),
    Deviation("doubled_gap", "the boundaries are margin -/+ pn_margin, not margin - pn_margin and margin", "both"),
    Deviation("zero_dropped", "pairs at distance 0 (equal rows) get no weight"),
    Deviation("self_pairs", "an anchor counts as its own positive in the pair count", "loss"),
    Deviation("loss_optimised", "the reported loss is the optimised one (hinges weighted as in the gradient)", "loss"),
    Deviation("loss_half", "the reported loss is halved", "loss"),
    Deviation("loss_plain_hinge", "the reported loss averages plain, not squared hinges", "loss"),
    Deviation("loss_sum", "the reported loss is a sum over pairs, not their mean", "loss"),
)
_CVPR19 = (
    Deviation(
        "unit_force",
        "the force is the hinge's gradient, a unit vector, instead of the plain difference x_i - x_j (of d^2/2)",
    ),
    Deviation(
        "hinge_force",
        "the force is that of the squared hinge, hinge times unit vector, instead of the plain difference",
    ),
    Deviation(
        "tpami_force",
        "the force is the unit vector (x_i - x_j)/(d + 1e-6) of the TPAMI release, not the plain difference",
    ),
    Deviation("tpami_boundaries", "the boundaries are 1 -/+ pn_margin/2 (TPAMI), not margin - pn_margin and margin"),
)
_TPAMI = (
    Deviation("plain_force", "the force is the plain difference x_i - x_j (CVPR 2019), not the unit vector"),
    Deviation("hinge_force", "the force is that of the squared hinge, hinge times unit vector"),
    Deviation("cvpr19_boundaries", "the boundaries follow the threshold (CVPR 2019), not 1 -/+ pn_margin/2"),
    Deviation("unit_without_epsilon", "1e-6 is not added to the distance that the force is divided by"),
)

# zero_dropped: the library marks the members of a set by their distance being above zero.
LIBRARY = frozenset(
    (
        "weights_in_graph", "partner_in_graph", "anchor_mean", "epsilon_each", "base_e", "double_settings", "zero_dropped",
        "loss_optimised",
    )
)  # fmt: skip
_PRINTED = frozenset(
    ("weights_in_graph", "partner_in_graph", "anchor_mean", "base_e", "double_settings", "loss_optimised", "no_half")
)


@cache
def reference(tpami: bool) -> Reference:
    """The reference of one release."""
    unit = frozenset({"unit_without_epsilon" if tpami else "unit_force"})

    def function(arguments: Any, params: dict[str, Any], deviations: frozenset[str]) -> Any:
        return ranked_list(*arguments, tpami=tpami, wrong=deviations, **params)

    other = {"plain_force", "cvpr19_boundaries"} if tpami else {"tpami_force", "tpami_boundaries"}
    presets = {
        "the CVPR 2019 release" if tpami else "the TPAMI release": frozenset(other),
        "the library form (pytorch-metric-learning)": LIBRARY | unit,
        "the library form on normalised rows": LIBRARY | unit | {"normalised_inside"},
        "the formula as printed, differentiated as it stands": _PRINTED | unit,
    }
    forces = frozenset(d.key for d in (_TPAMI if tpami else _CVPR19) if "force" in d.key or "unit" in d.key)
    exclusive = (
        forces,
        frozenset(("tpami_boundaries", "doubled_gap", "cvpr19_boundaries")),
        frozenset(("anchor_mean", "anchor_sum", "share_in_graph")),
        frozenset(("loss_half", "loss_plain_hinge", "loss_sum", "loss_optimised")),
        frozenset(("equal_weights", "swapped_temperatures", "base_e")),
    )
    settings = {
        "margin": (1.0, 1.2, 1.4), "pn_margin": (0.2, 0.4), "T_p": (0, 1, 4, 5, 10), "T_n": (0, 1, 5, 10, 20)
    }  # fmt: skip
    deviations = _COMMON + (_TPAMI if tpami else _CVPR19)
    return Reference(function, deviations, presets, exclusive, settings, {"legacy_version": False}, ("legacy_version",))


def ranked_list(
    x: Any, labels: Any, *, tpami: bool, wrong: frozenset[str], margin: float = 1.2, pn_margin: float = 0.4,
    T_p: float = 0.0, T_n: float = 10.0, legacy_version: bool = False, imbalance: float = 0.5,
) -> tuple[Any, Any]:  # fmt: skip
    """(reported value, surrogate whose gradient is the released one); `wrong` switches deviations on."""
    if "double_settings" not in wrong:
        margin, pn_margin, T_p, T_n = map(float32, (margin, pn_margin, T_p, T_n))
    base = math.e if "base_e" in wrong else 2.71828 if "double_settings" in wrong else float32(2.71828)
    if "swapped_temperatures" in wrong:
        T_p, T_n = T_n, T_p
    if "equal_weights" in wrong:
        T_p = T_n = 0.0
    if "normalised_inside" in wrong:
        x = normalize(x)
    near, far = margin - pn_margin, margin
    if "doubled_gap" in wrong:
        near, far = margin - pn_margin, margin + pn_margin

    itself = np.eye(len(x), dtype=bool)
    same = labels[:, None] == labels[None, :]
    squared = squared_differences(x, x if "partner_in_graph" in wrong else detach(x))
    distance = safe_root(squared)

    # The reported value: mean over pairs of the squared hinges.
    reported = squared if "squared_distance" in wrong else distance
    positive_hinge, negative_hinge = (reported - near).clamp(0), (far - reported).clamp(0)
    if "loss_plain_hinge" not in wrong:
        positive_hinge, negative_hinge = positive_hinge.square(), negative_hinge.square()
        if legacy_version:
            negative_hinge = (far - squared).clamp(0)
    hinges = where(itself, 0.0, where(same, positive_hinge, negative_hinge))
    pairs = len(x) * (len(x) - 1)
    value = hinges.sum() / (max(pairs, 1) + (len(x) if "self_pairs" in wrong else 0))
    if "loss_sum" in wrong:
        value = hinges.sum() / 2
    if "loss_half" in wrong:
        value = value / 2

    # Weights of the gradient.
    if (tpami and not wrong & {"cvpr19_boundaries", "doubled_gap"}) or "tpami_boundaries" in wrong:
        near, far = 1 - pn_margin / 2, 1 + pn_margin / 2
    hinge = where(same, reported - near, far - reported)
    active = (hinge > 0) & ~itself
    if "zero_dropped" in wrong:
        active = active & (squared > 0)
    exponent = np.where(same, T_p, T_n) * math.log(base) * where(active, hinge, 0.0)
    weight = exponent.exp() * active
    added = 1e-5 * len(x) if "epsilon_each" in wrong else 1e-8
    total = weight.sum(1, keepdims=True) + 2 * added
    share = total / (total.sum() + 1e-8)
    if "share_in_graph" not in wrong:
        share = detach(share)
    if "weights_in_graph" not in wrong:
        weight = detach(weight)
    sums = [(weight * member).sum(1, keepdims=True) + added for member in (same, ~same)]
    normaliser = [sums[0] + sums[1]] * 2 if "one_normaliser" in wrong else sums
    if "all_positives" in wrong:
        normaliser = [np.maximum((same & ~itself).sum(1, keepdims=True), 1), normaliser[1]]
    if "anchor_mean" in wrong:
        share = np.full(total.shape, 1 / len(x))
    if "anchor_sum" in wrong:
        share = np.ones(total.shape)

    # Whose gradient a pair exerts: d^2/2 (plain difference), d (unit vector) or the squared hinge.
    sign = np.where(same, 1.0, -1.0)
    if "hinge_force" in wrong:
        energy = 0.5 * hinge.square()
    elif "unit_force" in wrong or "unit_without_epsilon" in wrong:
        energy = hinge
    elif (tpami and "plain_force" not in wrong) or "tpami_force" in wrong:
        energy = sign * 0.5 * squared / (detach(distance) + 1e-6)
    else:
        energy = sign * 0.5 * squared
    weight = weight * np.where(same, 2 * (1 - imbalance), 2 * imbalance)
    force = weight * where(active, energy, 0.0) / where(same, normaliser[0], normaliser[1])
    if legacy_version and not tpami:
        force = where(~same & (squared >= far), 0.0, force)
    surrogate = (share * force).sum() * (1.0 if "no_half" in wrong else 0.5)
    if "per_pair" in wrong:
        surrogate = surrogate / max(pairs / 2, 1)
    if "loss_optimised" in wrong:
        energy = where(active, hinge, 0.0) * weight / where(same, normaliser[0], normaliser[1])
        value = (share * energy).sum() * (1.0 if "no_half" in wrong else 0.5)
    return value, surrogate
