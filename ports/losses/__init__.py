"""Losses of the ported papers, one per file; importing the package imports none of them (nor torch)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Public name -> module. Listed by hand; `from ports.losses import X` loads only X's module.
_MODULES = {
    "RankedListLoss": "ranked_list",
    "OnlineSoftMiningLoss": "online_soft_mining",
    "ClassAwareAttention": "class_aware_attention",
    "WeightedSoftmaxLoss": "class_aware_attention",
    "ValidPairLoss": "valid_pair",
    "HardestPairLoss": "hardest_pair",
    "CaffeContrastiveLoss": "contrastive_caffe",
    "CaffeContrastiveLossV2": "contrastive_caffe",
    "CaffeTripletLoss": "triplet_caffe",
    "UnifiedWeightLoss": "unified_weight",
    "MultiSimilarityLoss": "multi_similarity",
    "MarginLoss": "margin",
    "ContrastiveLoss": "contrastive",
    "BatchAllLoss": "batch_all",
    "BatchHardLoss": "batch_hard",
    "SemiHardLoss": "semi_hard",
    "LiftedStructureLoss": "lifted_structure",
    "BinomialDevianceLoss": "binomial_deviance",
    "NCALoss": "nca",
    "NeighbourNCALoss": "neighbour_nca",
    "BinDevianceLoss": "bin_deviance",
    "HardMiningLoss": "hard_mining",
    "TripletHardMiningLoss": "hard_mining",
    "WeightLoss": "weight",
    "XbmTripletLoss": "xbm_triplet",
    "NormSoftmaxLoss": "norm_softmax",
    "ProxyNCALoss": "proxy_nca",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
