"""Pooling over space and BatchPool over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer, Shape, enum_name, geometry
from caffe_compat.layers.checks import Counts


class Pooling(Layer):
    """MAX and AVE pooling (pooling_layer.cpp).

    The output size is rounded up; a last window that would start beyond the bottom and its left padding is dropped. AVE
    divides by the window clipped to the padded bottom, so padding counts. MAX gives ties to the first position; its
    optional second top holds the position (h * W + w) of each maximum.
    """

    output_is_free = True
    per_sample = True
    colour = "#fce5cd"

    @classmethod
    def counts_in(cls, dialect: str, message: Any) -> Counts:
        return Counts(tops=(1, 2 if enum_name(message.pooling_param, "pool") == "MAX" else 1))

    def setup(self) -> None:
        param = self.message.pooling_param
        self.method = enum_name(param, "pool")
        if self.method not in ("MAX", "AVE"):
            raise ValueError(f"{self}: {self.method} pooling is not supported (Caffe's CPU code has none either)")
        self.global_pooling = param.global_pooling
        # Only bvlc knows round_mode.
        self.floor = "round_mode" in param.DESCRIPTOR.fields_by_name and enum_name(param, "round_mode") == "FLOOR"
        if self.global_pooling:
            self.kernel, self.stride, self.pad = (0, 0), (1, 1), (0, 0)
            return
        self.kernel = (
            (param.kernel_size, param.kernel_size)
            if param.HasField("kernel_size")
            else (param.kernel_h, param.kernel_w)
        )
        self.stride = (param.stride_h, param.stride_w) if param.HasField("stride_h") else (param.stride, param.stride)
        self.pad = (param.pad_h, param.pad_w) if param.HasField("pad_h") else (param.pad, param.pad)
        if min(self.kernel) < 1 or min(self.stride) < 1:
            raise ValueError(f"{self}: kernel {self.kernel} and stride {self.stride} must be positive")
        if self.pad[0] >= self.kernel[0] or self.pad[1] >= self.kernel[1]:
            raise ValueError(f"{self}: padding {self.pad} must be smaller than the kernel {self.kernel}")

    def pooled_size(self, size: int, axis: int) -> int:
        kernel, stride, pad = self.kernel[axis], self.stride[axis], self.pad[axis]
        steps = (size + 2 * pad - kernel) / stride
        pooled = int(steps // 1 if self.floor else ceil(steps)) + 1
        if pad and (pooled - 1) * stride >= size + pad:
            pooled -= 1
        if pooled < 1 or (pooled - 1) * stride - pad >= size:
            # Caffe would give -FLT_MAX (MAX) or 0 / 0 (AVE) there.
            raise ValueError(
                f"{self}: kernel {kernel}, stride {stride}, padding {pad} leave an empty window on size {size}"
            )
        return pooled

    @classmethod
    def described(cls, message: Any) -> str:
        param = message.pooling_param
        kind = f" {enum_name(param, 'pool')}"
        return f"{kind} global" if param.global_pooling else kind + geometry((param.kernel_size,), [param.stride])

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        shape = bottom_shapes[0]
        if len(shape) != 4:
            raise ValueError(f"{self}: pools blobs of 4 axes (N, C, H, W), not {tuple(shape)}")
        size = (1, 1) if self.global_pooling else (self.pooled_size(shape[2], 0), self.pooled_size(shape[3], 1))
        return [(shape[0], shape[1], *size)] * max(1, len(self.message.top))

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0]
        if self.global_pooling and self.method == "AVE":
            return (x.mean((2, 3), keepdim=True),)
        height, width = x.shape[2:]
        kernel = (height, width) if self.global_pooling else self.kernel
        pad = self.pad
        pooled = (1, 1) if self.global_pooling else (self.pooled_size(height, 0), self.pooled_size(width, 1))
        if pad[0] > kernel[0] // 2 or pad[1] > kernel[1] // 2:  # torch pads by half a kernel at most
            fill = 0.0 if self.method == "AVE" else float("-inf")
            x = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), value=fill)
            pad = (0, 0)
        if self.method == "AVE":
            top = F.avg_pool2d(x, kernel, self.stride, pad, ceil_mode=not self.floor, count_include_pad=True)
            return (top[:, :, : pooled[0], : pooled[1]],)
        if len(self.message.top) < 2:
            top = F.max_pool2d(x, kernel, self.stride, pad, ceil_mode=not self.floor)
            return (top[:, :, : pooled[0], : pooled[1]],)
        if pad != self.pad:
            raise ValueError(f"{self}: the mask top is not supported with padding {self.pad} above half the kernel")
        top, mask = F.max_pool2d(x, kernel, self.stride, pad, ceil_mode=not self.floor, return_indices=True)
        return top, mask.to(x.dtype)


class BatchPool(Layer):
    """One sample from the whole batch: AVE or MAX, or with a second bottom (N, 1) the sum weighted by it.

    In the rll forks the backward of the plain AVE multiplies by the batch size where the derivative divides by it
    (osm_aaai19 corrected this); kept, because training with the layer there used it.
    """

    counts = Counts(bottoms=(1, 2))

    def setup(self) -> None:
        self.method = enum_name(self.message.batch_pool_param, "pool")
        if self.method not in ("MAX", "AVE"):
            raise ValueError(f"{self}: {self.method} pooling is not supported (the forks have none either)")

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [(1, *bottom_shapes[0][1:])]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0]
        if len(bottoms) == 2:
            weights = bottoms[1].reshape(-1, *(1,) * (x.ndim - 1))
            return ((x * weights).sum(0, keepdim=True),)
        if self.method == "MAX":
            return (torch.gather(x, 0, x.argmax(0, keepdim=True)),)
        top = x.mean(0, keepdim=True)
        if self.dialect != "osm_aaai19":
            wrong = x.sum(0, keepdim=True) * x.shape[0]
            top = top.detach() + (wrong - wrong.detach())
        return (top,)


LAYERS: dict[str, type[Layer]] = {"Pooling": Pooling, "BatchPool": BatchPool}
