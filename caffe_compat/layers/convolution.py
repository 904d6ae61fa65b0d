"""Convolution and Deconvolution (base_conv_layer.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer, Shape, geometry
from caffe_compat.layers.checks import Counts

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_DECONV: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _spatial(param: Any, field: str, count: int, default: int | None) -> tuple[int, ...]:
    """One number per spatial axis from `field` (repeated) or its 2-D pair of fields."""
    height, width = {"kernel_size": ("kernel_h", "kernel_w")}.get(field, (f"{field}_h", f"{field}_w"))
    values = list(getattr(param, field))
    if field != "dilation" and (param.HasField(height) or param.HasField(width)):
        if values or count != 2:
            raise ValueError(f"{height}/{width} is for 2-D convolution without {field}")
        return getattr(param, height), getattr(param, width)
    if not values and default is not None:
        values = [default]
    if len(values) not in (1, count):
        raise ValueError(f"{len(values)} values of {field} for {count} spatial axes")
    return tuple(values * count if len(values) == 1 else values)


class Convolution(Layer):
    """Cross-correlation with `group`, `dilation`, `pad`, `stride`.

    Blobs: weight (out, in / group, kh, kw) and, with `bias_term`, bias (out,).
    """

    counts = Counts(bottoms=(1, None), tops=(1, None), equal=True)
    output_is_free = True
    weight: Tensor
    bias: Tensor
    per_sample = True
    colour = "#cfe2f3"

    def setup(self) -> None:
        param = self.message.convolution_param
        shape = self.bottom_shapes[0]
        if param.axis not in (1, 1 - len(shape)):
            raise ValueError(f"{self}: convolution over axis {param.axis}; only channels in axis 1 are supported")
        count = len(shape) - 2
        if count not in _CONV:
            raise ValueError(f"{self}: a bottom of shape {shape} has {count} spatial axes; 1 to 3 are supported")
        self.kernel = _spatial(param, "kernel_size", count, None)
        self.stride = _spatial(param, "stride", count, 1)
        self.pad = _spatial(param, "pad", count, 0)
        self.dilation = _spatial(param, "dilation", count, 1)
        self.group = param.group
        self.channels = shape[1]
        self.num_output = param.num_output
        if self.num_output < 1 or min(self.kernel) < 1 or min(self.stride) < 1 or min(self.dilation) < 1:
            raise ValueError(f"{self}: num_output, kernel, stride and dilation must be positive")
        if self.group < 1 or self.channels % self.group or self.num_output % self.group:
            raise ValueError(
                f"{self}: {self.channels} channels and num_output {self.num_output} do not divide by group {self.group}"
            )
        self.add_blob("weight", self.weight_shape(), param.weight_filler)
        self.bias_term = param.bias_term
        if self.bias_term:
            self.add_blob("bias", (self.num_output,), param.bias_filler)

    def weight_shape(self) -> Shape:
        return (self.num_output, self.channels // self.group, *self.kernel)

    @classmethod
    def described(cls, message: Any) -> str:
        param = message.convolution_param
        kernel = (param.kernel_h, param.kernel_w) if param.HasField("kernel_h") else tuple(param.kernel_size)
        return geometry(kernel, list(param.stride), param.group)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        shapes = []
        for shape in bottom_shapes:
            if shape[1] != self.channels:
                raise ValueError(f"{self}: bottom of shape {shape}, but the weight takes {self.channels} channels")
            size = tuple(self.output_size(s, i) for i, s in enumerate(shape[2:]))
            if min(size) < 1:
                raise ValueError(f"{self}: bottom of shape {shape} is smaller than the kernel {self.kernel}")
            shapes.append((shape[0], self.num_output, *size))
        return shapes

    def output_size(self, size: int, axis: int) -> int:
        extent = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return (size + 2 * self.pad[axis] - extent) // self.stride[axis] + 1

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        convolve = _CONV[len(self.kernel)]
        bias = self.bias if self.bias_term else None
        # One layer may filter several bottoms with the same weights.
        return tuple(convolve(x, self.weight, bias, self.stride, self.pad, self.dilation, self.group) for x in bottoms)


class Deconvolution(Convolution):
    """The transpose of Convolution; weight (in, out / group, kh, kw)."""

    def weight_shape(self) -> Shape:
        return (self.channels, self.num_output // self.group, *self.kernel)

    def output_size(self, size: int, axis: int) -> int:
        extent = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return self.stride[axis] * (size - 1) + extent - 2 * self.pad[axis]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        deconvolve = _DECONV[len(self.kernel)]
        bias = self.bias if self.bias_term else None
        return tuple(
            deconvolve(x, self.weight, bias, self.stride, self.pad, 0, self.group, self.dilation) for x in bottoms
        )


LAYERS: dict[str, type[Layer]] = {"Convolution": Convolution, "Deconvolution": Deconvolution}
