"""pytorch-metric-learning's own two losses of which there are sets, as forms of ours."""

from __future__ import annotations

from typing import Any

from .multi_similarity import multi_similarity
from .reference import Reference
from .rll import LIBRARY, ranked_list

_MS = frozenset(("no_miner", "near_positives", "normalised_inside"))


def rll(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """Its RankedListLoss: alpha is the margin, margin the gap; (1 - imbalance) of the positives and imbalance of the negatives."""
    settings = {"margin": params["alpha"], "pn_margin": params["margin"], "T_p": params["Tp"], "T_n": params["Tn"]}
    return ranked_list(
        *arguments, tpami=False, wrong=LIBRARY | {"unit_force"} | wrong, imbalance=params["imbalance"], **settings
    )


def ms(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """Its MultiSimilarityLoss without a miner."""
    settings = {"SCALE_POS": params["alpha"], "SCALE_NEG": params["beta"], "thresh": params["base"], "margin": 0.0}
    return multi_similarity(arguments, settings, _MS | wrong)


RLL, MS = Reference(rll, (), {}), Reference(ms, (), {})
