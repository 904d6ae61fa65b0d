"""Normalization (the forks' L1/L2), Normalize (CaffeMex), LRN and MVN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer, enum_name
from ports.float32 import f32


class Normalization(Layer):
    """Each sample divided by its L2 norm over C*H*W, or the whole batch by its L1 norm (normalization_layer.cpp).

    osm_aaai19 adds 1e-12 to the squared L2 norm and to the L1 norm; the rll forks do not, so there zeros give NaN.
    L1 is made for N values (N x 1 x 1 x 1): it touches only the first N elements of the blob, the others come out 0
    (in Caffe: as they were), and its backward takes the derivative of the norm as 1, right for non-negative input only.
    """

    drawn_inside = True

    def setup(self) -> None:
        self.norm = enum_name(self.message.normalization_param, "norm")
        self.per_sample = self.norm == "L2"

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0]
        if self.norm == "L1":
            return (self.l1(x),)
        flat = x.flatten(1)
        squared = flat.square().sum(1, keepdim=True)
        if self.dialect == "osm_aaai19":
            squared = squared + 1e-12
        return ((flat / squared.sqrt()).reshape(x.shape),)

    def l1(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1)
        head = flat[: x.shape[0]]
        linear = head.sum()
        norm = head.abs().sum().detach() + (linear - linear.detach())
        if self.dialect == "osm_aaai19":
            norm = norm + 1e-12
        top = head / norm
        if head.numel() < flat.numel():
            top = torch.cat([top, torch.zeros_like(flat[head.numel() :])])
        return top.reshape(x.shape)


class Normalize(Layer):
    """CaffeMex's other L2 normalisation: (N, C, 1, 1) divided by the norm over the channels.

    Only this form was recorded; a coefficient other than 1, or height and width above 1, is refused.
    """

    def setup(self) -> None:
        shape = self.bottom_shapes[0]
        if f32(self.message.normalize_param.coeff) != 1 or any(n != 1 for n in shape[2:]):
            raise ValueError(f"{self}: only coeff 1 on (N, C, 1, 1) blobs is known, not {shape}")

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0]
        return (x / x.square().sum(1, keepdim=True).sqrt(),)


class LRN(Layer):
    """Local response normalisation, across channels or within one (lrn_layer.cpp).

    Across: x / (k + alpha / n * sum of squares of n neighbouring channels) ^ beta. Within: the mean of squares over an
    n x n window of the zero-padded map, x / (1 + alpha * mean) ^ beta; k is not used there.
    """

    per_sample = True

    def setup(self) -> None:
        param = self.message.lrn_param
        self.size = param.local_size
        if self.size % 2 == 0:
            raise ValueError(f"{self}: local_size {self.size} must be odd")
        self.alpha, self.beta, self.k = f32(param.alpha), f32(param.beta), f32(param.k)
        self.across = enum_name(param, "norm_region") == "ACROSS_CHANNELS"

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x = bottoms[0]
        squares, half = x.square(), self.size // 2
        if self.across:
            # (N, 1, C, H * W): a window of n x 1 averages over neighbouring channels, zeros beyond the ends.
            planes = squares.flatten(2).unsqueeze(1)
            mean = F.avg_pool2d(planes, (self.size, 1), 1, (half, 0), count_include_pad=True).reshape(x.shape)
            return (x * (self.k + self.alpha * mean).pow(-self.beta),)
        mean = F.avg_pool2d(squares, self.size, 1, half, count_include_pad=True)
        return (x * (1 + self.alpha * mean).pow(-self.beta),)


class MVN(Layer):
    """Mean-variance normalisation of each channel of each sample, or of each sample (`across_channels`).

    The deviation is sqrt(E[(x - mean)^2]) + eps: eps is added after the root.
    """

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        param, x = self.message.mvn_param, bottoms[0]
        axes = tuple(range(1 if param.across_channels else 2, x.ndim))
        centred = x - x.mean(axes, keepdim=True)
        if not param.normalize_variance:
            return (centred,)
        return (centred / (centred.square().mean(axes, keepdim=True).sqrt() + f32(param.eps)),)


LAYERS: dict[str, type[Layer]] = {"Normalization": Normalization, "Normalize": Normalize, "LRN": LRN, "MVN": MVN}
