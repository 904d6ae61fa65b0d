"""Eltwise, Reduction and ArgMax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from caffe_compat.layers.base import Layer, Shape, canonical_axis, enum_name
from caffe_compat.layers.checks import Counts
from ports.float32 import f32


class Eltwise(Layer):
    """PROD, SUM (with coefficients) or MAX of bottoms of one shape."""

    counts = Counts(bottoms=(2, None))
    output_is_free = True
    colour = "#d9ead3"

    def setup(self) -> None:
        param = self.message.eltwise_param
        self.operation = enum_name(param, "operation")
        self.output_is_free = self.operation == "SUM"
        self.coeff = [f32(c) for c in param.coeff]
        if self.coeff and len(self.coeff) != len(self.bottom_shapes):
            raise ValueError(f"{self}: {len(self.coeff)} coeff for {len(self.bottom_shapes)} bottoms")
        if self.coeff and self.operation == "PROD":
            raise ValueError(f"{self}: coeff is for SUM, not for PROD")

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        if any(tuple(shape) != tuple(bottom_shapes[0]) for shape in bottom_shapes):
            raise ValueError(f"{self}: bottoms of different shapes {[tuple(s) for s in bottom_shapes]}")
        return [tuple(bottom_shapes[0])]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        top = bottoms[0]
        if self.operation == "SUM":
            coeff = self.coeff or [1.0] * len(bottoms)
            top = top if coeff[0] == 1 else coeff[0] * top
            for c, bottom in zip(coeff[1:], bottoms[1:]):
                top = top + bottom if c == 1 else torch.add(top, bottom, alpha=c)
        else:
            for bottom in bottoms[1:]:
                # Between equal values the later bottom gets Caffe's gradient for bottom 1, the earlier one after that.
                if self.operation == "PROD":
                    top = top * bottom
                elif bottom is bottoms[1]:
                    top = torch.where(top > bottom, top, bottom)
                else:
                    top = torch.where(bottom > top, bottom, top)
        return (top,)


class Reduction(Layer):
    """coeff * SUM, ASUM, SUMSQ or MEAN of everything from `axis` on."""

    def setup(self) -> None:
        param = self.message.reduction_param
        self.operation = enum_name(param, "operation")
        self.axis = canonical_axis(param.axis, max(1, len(self.bottom_shapes[0])))
        self.coeff = f32(param.coeff)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [tuple(bottom_shapes[0][: self.axis])]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0].reshape(*bottoms[0].shape[: self.axis], prod(bottoms[0].shape[self.axis :]))
        if self.operation == "ASUM":
            x = x.abs()
        elif self.operation == "SUMSQ":
            x = x.square()
        top = x.mean(-1) if self.operation == "MEAN" else x.sum(-1)
        return (top * self.coeff,)


class ArgMax(Layer):
    """Positions of the `top_k` largest values, along `axis` or over the whole sample; no gradient.

    Without `axis` the top is (N, 1, top_k), or (N, 2, top_k) with positions and values (`out_max_val`).
    """

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        param, shape = self.message.argmax_param, tuple(bottom_shapes[0])
        if param.HasField("axis"):
            axis = canonical_axis(param.axis, len(shape))
            return [(*shape[:axis], param.top_k, *shape[axis + 1 :])]
        return [(shape[0], 2 if param.out_max_val else 1, param.top_k)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param, x = self.message.argmax_param, bottoms[0].detach()
        if param.HasField("axis"):
            axis = canonical_axis(param.axis, x.ndim)
            values, positions = x.topk(param.top_k, axis)
            return (values if param.out_max_val else positions.to(x.dtype),)
        values, positions = x.flatten(1).topk(param.top_k)
        rows = [positions.to(x.dtype), values] if param.out_max_val else [positions.to(x.dtype)]
        return (torch.stack(rows, 1),)


LAYERS: dict[str, type[Layer]] = {"Eltwise": Eltwise, "Reduction": Reduction, "ArgMax": ArgMax}
