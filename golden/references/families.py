"""Which reference is the formula of which family of golden sets."""

from __future__ import annotations

from . import attentive_pairs, caffe_pairs, hard_mining, library, rll, softmax_weights
from .batch_all import REFERENCE as BATCH_ALL
from .binomial import REFERENCE as BINOMIAL
from .contrastive import REFERENCE as CONTRASTIVE
from .lifted import REFERENCE as LIFTED
from .margin import REFERENCE as MARGIN
from .multi_similarity import REFERENCE as MULTI_SIMILARITY
from .nca import REFERENCE as NCA
from .norm_softmax import REFERENCE as NORM_SOFTMAX
from .osm import REFERENCE as OSM
from .proxy_anchor import REFERENCE as PROXY_ANCHOR
from .reference import Reference
from .semi_hard import REFERENCE as SEMI_HARD
from .weight import REFERENCE as WEIGHT

FAMILIES: dict[str, Reference] = {
    "rll-cvpr19": rll.reference(tpami=False),
    "rll-tpami": rll.reference(tpami=True),
    "osm": OSM,
    "osm-v1": attentive_pairs.reference("V"),
    "osm-v2": attentive_pairs.reference("V2"),
    "osm-v3": attentive_pairs.reference("V3"),
    "osm-v4": attentive_pairs.reference("V4"),
    "weighted-pair": attentive_pairs.reference("weighted_pair"),
    "weighted-valid-pair": attentive_pairs.reference("weighted_valid_pair"),
    "weighted-contrastive": attentive_pairs.reference("hardest"),
    "ohpm": attentive_pairs.reference("hardest"),
    "ms": MULTI_SIMILARITY,
    "contrastive-deep-metric": CONTRASTIVE,
    "margin": MARGIN,
    "normsoftmax": NORM_SOFTMAX,
    "binomial": BINOMIAL,
    "lifted": LIFTED,
    "hard-mining": hard_mining.BY_VALUE_OF_ANCHOR,
    "triplet-hard-mining": hard_mining.BY_INDEX,
    "nca": NCA,
    "semi-hard": SEMI_HARD,
    "batch-all": BATCH_ALL,
    "weight": WEIGHT,
    "contrastive-caffe": caffe_pairs.CONTRASTIVE,
    "contrastive-v2": caffe_pairs.CONTRASTIVE_V2,
    "triplet-caffe": caffe_pairs.TRIPLET,
    "weighted-softmax": softmax_weights.WEIGHTED,
    "caa": softmax_weights.CAA,
    "unified-weight": softmax_weights.UNIFIED,
    "proxy-anchor": PROXY_ANCHOR,
    "rll-library": library.RLL,
    "ms-library": library.MS,
}


def reference_for(family: str) -> Reference | None:
    """The reference of a set's `family`; None where we have none."""
    return FAMILIES.get(family)
