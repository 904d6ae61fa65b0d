"""Which Caffe registers which layer type, as far as the meaning of a net depends on it."""

from __future__ import annotations

from caffe_compat.schema.tables import DIALECTS

_RLL = ("rll_cvpr19", "rll_tpami")
_FORKS = (*_RLL, "osm_aaai19")
_OSM = ("osm_aaai19",)

# Types that some dialects lack. The three forks grew from one tree (CaffeMex_v2), older than stock Caffe's last types.
FORK_TYPES: dict[str, tuple[str, ...]] = {
    "Clip": ("bvlc",),
    "Swish": ("bvlc",),
    **dict.fromkeys(
        [
            "BoxAnnotatorOHEM",
            "CenterLoss",
            "CenterProjection",
            "ClsOHEM",
            "DeltaToCoordinate",
            "Gate",
            "GaussianNoise",
            "GaussianSample",
            "Mask",
            "PSROIPooling",
            "PSROIRegionPooling",
            "PointFocus",
            "PointPooling",
            "ROIPooling",
            "RegionPooling",
            "SmoothL1Loss",
            "Upsample",
        ],
        _FORKS,
    ),
    "Normalization": _FORKS,
    "Normalize": _FORKS,
    "BatchPool": _FORKS,
    "BN": _FORKS,
    "BNHK": _FORKS,
    "TripletLoss": _FORKS,
    "DistanceWeightedValidPairLossV12": _RLL,
    "ContrastiveLossV2": _RLL,
    "UnifiedWeightLoss": ("rll_tpami",),
    "DistanceWeightedValidPairLoss": _OSM,
    "DistanceWeightedValidPairLossV2": _OSM,
    "DistanceWeightedValidPairLossV3": _OSM,
    "DistanceWeightedValidPairLossV4": _OSM,
    "DistanceWeightedValidPairLossV5": _OSM,
    "ExtractProb": _OSM,
    "Gaussian": _OSM,
    "WeightedSoftmaxWithLoss": _OSM,
    "WeightedContrastiveLoss": _OSM,
    "WeightedPairLoss": _OSM,
    "WeightedValidPairLoss": _OSM,
    "OHPMWeightedPairLoss": _OSM,
}

# Types that two forks share by name but compute differently: type -> groups of dialects that agree.
MEANINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    # margin against negative_threshold, pair direction, when the loss is computed, defaults of T_p and T_n
    "DistanceWeightedValidPairLossV12": (("rll_cvpr19",), ("rll_tpami",)),
    "ContrastiveLossV2": (("rll_cvpr19",), ("rll_tpami",)),
    # 1e-12 under the root of the L2 norm in one fork only
    "Normalization": (_RLL, _OSM),
    # gradient of the one-bottom average: divided by the batch size or multiplied with it
    "BatchPool": (_RLL, _OSM),
    # bottoms with scores, a batch dropped when one is low
    "TripletLoss": (_RLL, _OSM),
    # running statistics are ordinary learnable parameters of the solver, or masked by lr_mult 0
    "BatchNorm": (_RLL, ("osm_aaai19", "bvlc")),
}


# Stock Caffe's types; every dialect has them unless FORK_TYPES says otherwise.
STOCK_TYPES = frozenset(
    [
        "AbsVal",
        "Accuracy",
        "ArgMax",
        "BNLL",
        "BatchNorm",
        "BatchReindex",
        "Bias",
        "Clip",
        "Concat",
        "ContrastiveLoss",
        "Convolution",
        "Crop",
        "Data",
        "Deconvolution",
        "Dropout",
        "DummyData",
        "ELU",
        "Eltwise",
        "Embed",
        "EuclideanLoss",
        "Exp",
        "Filter",
        "Flatten",
        "HDF5Data",
        "HDF5Output",
        "HingeLoss",
        "Im2col",
        "ImageData",
        "InfogainLoss",
        "InnerProduct",
        "Input",
        "LRN",
        "LSTM",
        "LSTMUnit",
        "Log",
        "MVN",
        "MemoryData",
        "MultinomialLogisticLoss",
        "PReLU",
        "Parameter",
        "Pooling",
        "Power",
        "Python",
        "RNN",
        "ReLU",
        "Reduction",
        "Reshape",
        "SPP",
        "Scale",
        "Sigmoid",
        "SigmoidCrossEntropyLoss",
        "Silence",
        "Slice",
        "Softmax",
        "SoftmaxWithLoss",
        "Split",
        "Swish",
        "TanH",
        "Threshold",
        "Tile",
        "WindowData",
    ]
)


def is_known_type(type: str) -> bool:
    """Whether any dialect's Caffe has the layer type."""
    return type in FORK_TYPES or type in STOCK_TYPES


def dialects_of_type(type: str) -> tuple[str, ...]:
    """Dialects that register the layer type; all of them for a type that is not known to be a fork's own."""
    return FORK_TYPES.get(type, DIALECTS)


def agree(type: str, dialects: tuple[str, ...]) -> bool:
    """Whether all `dialects` compute the same for a layer of this type."""
    groups = MEANINGS.get(type)
    return groups is None or any(set(dialects) <= set(group) for group in groups)
