"""Losses of the ported papers, one per file; importing the package imports none of them (nor torch)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers
    from ports.losses.batch_all import BatchAllLoss as BatchAllLoss
    from ports.losses.batch_hard import BatchHardLoss as BatchHardLoss
    from ports.losses.bin_deviance import BinDevianceLoss as BinDevianceLoss
    from ports.losses.binomial_deviance import BinomialDevianceLoss as BinomialDevianceLoss
    from ports.losses.class_aware_attention import ClassAwareAttention as ClassAwareAttention
    from ports.losses.class_aware_attention import WeightedSoftmaxLoss as WeightedSoftmaxLoss
    from ports.losses.contrastive import ContrastiveLoss as ContrastiveLoss
    from ports.losses.contrastive_caffe import CaffeContrastiveLoss as CaffeContrastiveLoss
    from ports.losses.contrastive_caffe import CaffeContrastiveLossV2 as CaffeContrastiveLossV2
    from ports.losses.hard_mining import HardMiningLoss as HardMiningLoss
    from ports.losses.hard_mining import TripletHardMiningLoss as TripletHardMiningLoss
    from ports.losses.hardest_pair import HardestPairLoss as HardestPairLoss
    from ports.losses.lifted_structure import LiftedStructureLoss as LiftedStructureLoss
    from ports.losses.margin import MarginLoss as MarginLoss
    from ports.losses.multi_similarity import MultiSimilarityLoss as MultiSimilarityLoss
    from ports.losses.nca import NCALoss as NCALoss
    from ports.losses.neighbour_nca import NeighbourNCALoss as NeighbourNCALoss
    from ports.losses.norm_softmax import NormSoftmaxLoss as NormSoftmaxLoss
    from ports.losses.online_soft_mining import OnlineSoftMiningLoss as OnlineSoftMiningLoss
    from ports.losses.proxy_nca import ProxyNCALoss as ProxyNCALoss
    from ports.losses.ranked_list import RankedListLoss as RankedListLoss
    from ports.losses.semi_hard import SemiHardLoss as SemiHardLoss
    from ports.losses.triplet_caffe import CaffeTripletLoss as CaffeTripletLoss
    from ports.losses.unified_weight import UnifiedWeightLoss as UnifiedWeightLoss
    from ports.losses.valid_pair import ValidPairLoss as ValidPairLoss
    from ports.losses.weight import WeightLoss as WeightLoss
    from ports.losses.xbm_triplet import XbmTripletLoss as XbmTripletLoss


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
