"""Ranked List Loss nets: the trunk with three heads H, L, M (CVPR'19 and TPAMI releases).

H is the pooled output of inception_5b; L and M hang on inception_3c and inception_4e through the structure of
GoogLeNet's auxiliary classifiers (layer names included, so that their ImageNet weights load). Each head ends in an
embedding of `dim` values without bias; training normalises each embedding for a loss of its own, deployment
concatenates the raw embeddings.
"""

from __future__ import annotations

from typing import Any

from paper_recipes.nets.bn_inception import auxiliary, trunk
from paper_recipes.nets.parts import Layer, Net, concat, inner_product, net, pool


def _features(head: str) -> tuple[list[Layer], str]:
    """Layers from the trunk to the blob that the head's embedding is a linear map of, and that blob's name."""
    if head == "H":
        return [pool("pool5/7x7_s1/pre_fc", "inception_5b/output", "AVE", 7, 1)], "pool5/7x7_s1/pre_fc"
    return auxiliary(head)


# head: names of its embedding, reshape, normalisation and loss layers in the train nets
_TRAIN_NAMES = {
    "H": ("pool5/7x7_s1/fc", "pool5/7x7_s1/reshape", "features/L2Norm", "WSiamese/loss_image"),
    "L": ("loss1/fc/bn/sc/fc", "loss1/fc/bn/sc/fc/reshape", "loss1/fc/bn/sc/fc/L2Norm", "WSiamese/loss_image1"),
    "M": ("loss2/fc/bn/sc/fc", "loss2/fc/bn/sc/fc/reshape", "loss2/fc/bn/sc/fc/L2Norm", "WSiamese/loss_image2"),
}


def _train_head(head: str, dim: int, fc_lr_mult: float, loss: dict[str, Any], dropout: float | None) -> list[Layer]:
    layers, x = _features(head)
    fc, reshape, normalised, loss_name = _TRAIN_NAMES[head]
    if dropout is not None:
        layers.append(
            {
                "name": f"drop_{head}",
                "type": "Dropout",
                "bottom": [x],
                "top": [x],
                "dropout_param": {"dropout_ratio": dropout},
            }
        )
    return [
        *layers,
        inner_product(fc, x, dim, lr_mult=fc_lr_mult),
        {
            "name": reshape,
            "type": "Reshape",
            "bottom": [fc],
            "top": [reshape],
            "reshape_param": {"shape": {"dim": [0, 0, 1, 1]}},
        },
        {
            "name": normalised,
            "type": "Normalization",
            "bottom": [reshape],
            "top": [normalised],
            "normalization_param": {"norm": "L2"},
        },
        {
            "name": loss_name,
            "type": "DistanceWeightedValidPairLossV12",
            "bottom": [normalised, "label"],
            "top": [loss_name],
            "loss_weight": [1],
            "propagate_down": [True, False],
            **loss,
        },
    ]


def train(
    *, batch: int, dim: int, fc_lr_mult: float, loss: dict[str, Any], dropout: float | None = None, crop: int = 227
) -> Net:
    """Training net on `batch` BGR crops; `loss` holds the loss layer's parameter messages, equal for the three heads."""
    heads = [layer for head in "HLM" for layer in _train_head(head, dim, fc_lr_mult, loss, dropout)]
    return net({"data": (batch, 3, crop, crop), "label": (batch, 1, 1, 1)}, trunk() + heads)


def deploy(heads: str, *, dim: int, fc_lr_mult: float = 10, crop: int = 227, fc_suffix: str = "") -> Net:
    """Test net: raw embeddings of the given heads, concatenated in the order H, L, M, in the blob `pool5/7x7_s1`.

    The files carry all three heads even where one is used; H alone is a net of its own. `fc_lr_mult` is what the authors
    left in the L and M embeddings (nothing is trained there), `fc_suffix` what some files append to the embeddings' names.
    """
    inputs = {"data": (1, 3, crop, crop)}
    if heads == "H":
        block, x = _features("H")
        fc = inner_product(_TRAIN_NAMES["H"][0] + fc_suffix, x, dim, top="pool5/7x7_s1", lr_mult=None)
        return net(inputs, [*trunk(), *block, fc])
    layers = trunk()
    tops: dict[str, str] = {}
    for head in "HLM":
        block, x = _features(head)
        fc_name = _TRAIN_NAMES[head][0]
        tops[head] = "pool5/fc" if head == "H" else fc_name
        lr_mult = None if head == "H" else fc_lr_mult
        layers += [*block, inner_product(fc_name + fc_suffix, x, dim, top=tops[head], lr_mult=lr_mult)]
    return net(inputs, [*layers, concat("features_concat", [tops[head] for head in heads], top="pool5/7x7_s1")])
