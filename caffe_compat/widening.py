"""The authors' GoogLeNet-BN as the wider PyTorch BN-Inception: other shapes, the same outputs.

The nets differ in `pool_proj` of 4c and 4d: 96 channels in the authors', 128 in the PyTorch weights. The 32 that are missing
are copies of the first 32 (so that they have statistics of their own and something to say), and whatever reads them gives them
the weight 0: an output is the narrow net's, and the first gradient may change that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from caffe_compat.bn_inception import BN_VECTORS
from ports.backbones.bn_inception import BLOCKS, CAFFE_BLOCKS

# block -> convolutions that read its last channels: those that its pool_proj makes, which 4e passes through
_READERS = {
    "inception_4c": tuple(f"inception_4d_{unit}" for unit in ("1x1", "3x3_reduce", "double_3x3_reduce", "pool_proj")),
    "inception_4d": tuple(f"inception_4e_{unit}" for unit in ("3x3_reduce", "double_3x3_reduce"))
    + tuple(f"inception_5a_{unit}" for unit in ("1x1", "3x3_reduce", "double_3x3_reduce", "pool_proj")),
}


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `BNInception(widths="pytorch")` from one of `widths="caffe"` with biases (`from_caffe` gives it).

    In exact arithmetic the outputs are equal; in floating point the sums of a convolution may be taken in another order.
    Raises ValueError for a net that is not narrow.
    """
    new = dict(state)
    for narrow, wide in zip(CAFFE_BLOCKS, BLOCKS):
        if narrow.name not in _READERS:
            continue
        unit, more = f"{narrow.name}_pool_proj", wide.projection - narrow.projection
        if len(state[f"{unit}.weight"]) != narrow.projection:
            raise ValueError(
                f"{unit}.weight has {len(state[f'{unit}.weight'])} filters, the narrow net has {narrow.projection}"
            )
        for key in (f"{unit}.weight", f"{unit}.bias", *(f"{unit}_bn.{part}" for part in BN_VECTORS)):
            new[key] = torch.cat([new[key], new[key][:more]])
        for reader in _READERS[narrow.name]:
            weight = new[f"{reader}.weight"]
            new[f"{reader}.weight"] = torch.cat([weight, weight.new_zeros(len(weight), more, *weight.shape[2:])], dim=1)
    return new


def for_other_means(state: Mapping[str, Tensor], own: Sequence[float], other: Sequence[float]) -> dict[str, Tensor]:
    """The net for images of which the means `other` were subtracted instead of its `own` (per channel, in the net's order).

    The difference goes into the first convolution's bias, exactly but for the three outermost pixels on each side: there its
    padding is 0, which stands for the mean, and so for another grey than before.
    """
    weight = state["conv1_7x7_s2.weight"].double()
    shift = torch.tensor([b - a for a, b in zip(own, other, strict=True)], dtype=torch.float64)
    bias = state["conv1_7x7_s2.bias"].double() + (weight.sum(dim=(2, 3)) @ shift)
    return {**state, "conv1_7x7_s2.bias": bias.to(state["conv1_7x7_s2.bias"].dtype)}
