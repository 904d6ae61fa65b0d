"""OSM+CAA nets: the trunk with a classifier at three levels and a pair loss on the middle level's features.

Each level k (1, 2, 3 = L, M, H) ends in a classifier. `prob_k`, the softmax probability of the true class, becomes the
weight of the sample in that level's softmax loss: a Gaussian around 0.5, divided by its sum over the batch. Class-aware
attention is a Gaussian around 1 of `prob_3`; with the L2-normalised 1024 features of the middle level it goes into
DistanceWeightedValidPairLossV5 (online soft mining).

For tracklets the middle features of each tracklet's frames are summed with their attention (divided by its sum over the
tracklet), and the result gets a classifier and a pair loss of its own.

The blobs `image_attention` and `tracklet_attention` are inputs that no layer reads; the files have them, so we have.
"""

from __future__ import annotations

from typing import Any

from paper_recipes.nets.bn_inception import auxiliary, trunk
from paper_recipes.nets.parts import Layer, Net, concat, net, pool

FEATURES = "loss2/fc/bn/sc"  # the middle level's 1024 features, after ReLU
_RESHAPED = f"{FEATURES}_reshape"


def _to_4d(name: str, top: str) -> Layer:
    shape = {"shape": {"dim": [0, 0, 1, 1]}}
    return {"name": name, "type": "Reshape", "bottom": [FEATURES], "top": [top], "reshape_param": shape}


def _normalise(name: str, bottom: str, norm: str) -> Layer:
    param = {"norm": norm}
    return {"name": name, "type": "Normalization", "bottom": [bottom], "top": [name], "normalization_param": param}


def _gaussian(name: str, bottom: str, *, mean: float, sigma: float) -> Layer:
    return {
        "name": name,
        "type": "Gaussian",
        "bottom": [bottom],
        "top": [name],
        "gaussian_param": {"sigma": sigma, "mean": mean},
        "propagate_down": [False],
    }


def _classifier(name: str, bottom: str, classes: int, shared: tuple[str, str] | None) -> Layer:
    """Fully connected layer with bias. `shared`: names under which its weight and bias could be shared (none is)."""
    params: list[dict[str, Any]] = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
    if shared is not None:
        params = [{"name": name, **param} for name, param in zip(shared, params)]
    return {
        "name": name,
        "type": "InnerProduct",
        "bottom": [bottom],
        "top": [name],
        "param": params,
        "inner_product_param": {
            "num_output": classes,
            "weight_filler": {"type": "xavier"},
            "bias_filler": {"type": "constant", "value": 0},
        },
    }


def _weighted_softmax(level: int, prefix: str, classifier: str, label: str) -> list[Layer]:
    """Softmax loss whose samples are weighted by a Gaussian of their true class's probability; its blob is `prob{level}`."""
    prob = f"prob{level}"
    return [
        {"name": f"{prefix}/prob", "type": "Softmax", "bottom": [classifier], "top": [f"{prefix}/prob"]},
        {
            "name": prob,
            "type": "ExtractProb",
            "bottom": [f"{prefix}/prob", label],
            "top": [prob],
            "propagate_down": [False, False],
        },
        _gaussian(f"gaussian/{prob}", prob, mean=0.5, sigma=0.18),
        _normalise(f"l1_norm/{prob}", f"gaussian/{prob}", "L1"),
        {
            "name": f"{prefix}/loss",
            "type": "WeightedSoftmaxWithLoss",
            "bottom": [classifier, label, f"l1_norm/{prob}"],
            "top": [f"{prefix}/loss"],
            "loss_weight": [1],
            "propagate_down": [True, False, False],
        },
    ]


def _attention(level: int) -> Layer:
    """Class-aware attention of a sample: high where the classifier already knows its class."""
    return _gaussian(f"attention/prob{level}", f"prob{level}", mean=1.0, sigma=0.68)


def _pair_loss(name: str, features: str, label: str, attention: str, sigma: float) -> Layer:
    return {
        "name": name,
        "type": "DistanceWeightedValidPairLossV5",
        "bottom": [features, label, attention],
        "top": [name],
        "loss_weight": [1],
        "contrastive_loss_param": {"margin": 1.2},
        "gaussian_param": {"sigma": sigma, "mean": 0.0},
        "propagate_down": [True, False, False],
    }


def _level(level: str, number: int, classes: int, shared: tuple[str, str] | None) -> list[Layer]:
    layers, x = auxiliary(level)
    classifier = f"loss{number}/classifier_1"
    return [
        *layers,
        _classifier(classifier, x, classes, shared),
        *_weighted_softmax(number, f"loss{number}", classifier, "label"),
    ]


def _levels(classes: int) -> list[Layer]:
    """The trunk with the three levels' classifiers, each where the authors' files have it."""
    after = {
        "inception_3c": _level("L", 1, classes, None),
        "inception_4e": _level("M", 2, classes, ("ip_w2", "ip_b2")),
    }
    top, classifier = "pool5/7x7_s1", "loss3/classifier_1"
    return [
        *trunk(after),
        pool(top, "inception_5b/output", "AVE", 7, 1),
        _classifier(classifier, top, classes, ("ip_w", "ip_b")),
        *_weighted_softmax(3, "loss3", classifier, "label"),
    ]


def _image_pairs(sigma: float) -> Layer:
    return _pair_loss("WSiamese/loss_image", "middle_I_feature/L2Norm", "label", "attention/prob3", sigma)


def train(*, batch: int, classes: int, sigma: float, crop: int = 224) -> Net:
    """Training net on `batch` BGR images: three weighted softmax losses and one pair loss.

    sigma: width of the positives' Gaussian in online soft mining.
    """
    inputs = {"data": (batch, 3, crop, crop), "label": (batch, 1, 1, 1), "image_attention": (batch, 1, 1, 1)}
    return net(
        inputs,
        [
            *_levels(classes),
            _to_4d(_RESHAPED, _RESHAPED),
            _normalise("middle_I_feature/L2Norm", _RESHAPED, "L2"),
            _attention(3),
            _image_pairs(sigma),
        ],
    )


def _slice(name: str, bottom: str, tops: list[str]) -> Layer:
    return {"name": name, "type": "Slice", "bottom": [bottom], "top": tops, "slice_param": {"axis": 0}}


def train_tracklets(*, tracklets: int, frames: int, classes: int, sigma: float, crop: int = 224) -> Net:
    """Training net on `tracklets` x `frames` images, tracklet after tracklet: four softmax losses, two pair losses.

    Labels come twice: `label` per frame, `tracklet_label` per tracklet.
    """
    batch, parts = tracklets * frames, range(1, tracklets + 1)
    inputs = {
        "data": (batch, 3, crop, crop),
        "label": (batch, 1, 1, 1),
        "tracklet_label": (tracklets, 1, 1, 1),
        "image_attention": (batch, 1, 1, 1),
        "tracklet_attention": (tracklets, 1, 1, 1),
    }
    pooled = concat("tracklet_feature", [f"feature{i}" for i in parts])
    pooled["concat_param"] = {"axis": 0}
    classifier = "tracklet_feature/classifier"
    return net(
        inputs,
        [
            *_levels(classes),
            _attention(3),
            _to_4d(_RESHAPED, _RESHAPED),
            _slice("slice_data", _RESHAPED, [f"data{i}" for i in parts]),
            _slice("slice_attention", "attention/prob3", [f"attention_{i}" for i in parts]),
            *[_normalise(f"attention_{i}/l1_norm", f"attention_{i}", "L1") for i in parts],
            *[
                {
                    "name": f"feature{i}",
                    "type": "BatchPool",
                    "bottom": [f"data{i}", f"attention_{i}/l1_norm"],
                    "top": [f"feature{i}"],
                    "propagate_down": [True, False],
                }
                for i in parts
            ],
            pooled,
            _classifier(classifier, "tracklet_feature", classes, ("ip_w_tracklet", "ip_b_tracklet")),
            *_weighted_softmax(4, "tracklet", classifier, "tracklet_label"),
            _normalise("tracklet_feature/L2Norm", "tracklet_feature", "L2"),
            _attention(4),
            _pair_loss("WSiamese/loss_tracklet", "tracklet_feature/L2Norm", "tracklet_label", "attention/prob4", sigma),
            _normalise("middle_I_feature/L2Norm", _RESHAPED, "L2"),
            _image_pairs(sigma),
        ],
    )


def with_tracklets(given: Net, *, tracklets: int, frames: int) -> Net:
    """A net of `train_tracklets`, settings of its layers included, for another number of tracklets or of their frames."""
    own = {layer["name"]: layer for layer in given["layer"]}
    classes = own["tracklet_feature/classifier"]["inner_product_param"]["num_output"]
    # Its loss layers are replaced by those given, sigma with them.
    fresh = train_tracklets(tracklets=tracklets, frames=frames, classes=classes, sigma=1.0, crop=given["input_dim"][3])
    counted = ("slice_data", "slice_attention", "tracklet_feature")
    return {
        **given,
        "input_dim": fresh["input_dim"],
        "layer": [layer if layer["name"] in counted else own.get(layer["name"], layer) for layer in fresh["layer"]],
    }


def deploy(crop: int = 224) -> Net:
    """Test net: the middle level's 1024 features in the blob `pool5/7x7_s1`; the trunk ends at inception_4e."""
    layers, _ = auxiliary("M")
    tail = _to_4d("middle_representation", "pool5/7x7_s1")
    return net({"data": (1, 3, crop, crop)}, [*trunk(last="inception_4e"), *layers, tail])
