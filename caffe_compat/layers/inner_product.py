"""InnerProduct and Embed: fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer, Shape, canonical_axis


class InnerProduct(Layer):
    """Everything from `axis` on is flattened and multiplied by weight (out, in), or (in, out) with `transpose`."""

    output_is_free = True
    weight: Tensor
    bias: Tensor
    per_sample = True
    colour = "#d9d2e9"

    def setup(self) -> None:
        param = self.message.inner_product_param
        shape = self.bottom_shapes[0]
        self.axis = canonical_axis(param.axis, len(shape))
        self.num_output = param.num_output
        if self.num_output < 1:
            raise ValueError(f"{self}: num_output {self.num_output} must be positive")
        self.features = prod(shape[self.axis :])
        self.transpose = param.transpose
        weight = (self.features, self.num_output) if self.transpose else (self.num_output, self.features)
        self.add_blob("weight", weight, param.weight_filler)
        self.bias_term = param.bias_term
        if self.bias_term:
            self.add_blob("bias", (self.num_output,), param.bias_filler)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        shape = bottom_shapes[0]
        if prod(shape[self.axis :]) != self.features:
            raise ValueError(
                f"{self}: bottom of shape {tuple(shape)} has {prod(shape[self.axis :])} values from axis {self.axis} "
                f"on, the weight takes {self.features}"
            )
        return [(*shape[: self.axis], self.num_output)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0]
        if x.ndim > self.axis + 1:
            x = x.flatten(self.axis)
        weight = self.weight.t() if self.transpose else self.weight
        return (F.linear(x, weight, self.bias if self.bias_term else None),)


class Embed(Layer):
    """Row lookup: the bottom holds row numbers (as floats) of weight (input_dim, num_output)."""

    output_is_free = True
    weight: Tensor
    bias: Tensor

    def setup(self) -> None:
        param = self.message.embed_param
        self.num_output = param.num_output
        if self.num_output < 1 or param.input_dim < 1:
            raise ValueError(f"{self}: num_output {self.num_output} and input_dim {param.input_dim} must be positive")
        self.add_blob("weight", (param.input_dim, self.num_output), param.weight_filler)
        self.bias_term = param.bias_term
        if self.bias_term:
            self.add_blob("bias", (self.num_output,), param.bias_filler)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [(*bottom_shapes[0], self.num_output)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        index = bottoms[0].long()
        count = self.weight.shape[0]
        if bool(((index < 0) | (index >= count)).any()):
            raise ValueError(f"{self}: an index outside 0..{count - 1}, the rows of its weight")
        rows = F.embedding(index, self.weight)
        return (rows + self.bias if self.bias_term else rows,)


LAYERS: dict[str, type[Layer]] = {"InnerProduct": InnerProduct, "Embed": Embed}
