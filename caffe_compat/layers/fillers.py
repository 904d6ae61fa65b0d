"""Caffe's weight fillers (filler.hpp): the distributions, not the random stream.

`fill` draws on the CPU in float32 and copies, so one generator seed gives one set of weights on every device and in
both precisions. Caffe draws from boost's Mersenne twister; its numbers for a seed are not reproduced here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

FAN_IN, FAN_OUT, AVERAGE = 0, 1, 2  # FillerParameter.VarianceNorm


def fan(shape: torch.Size | tuple[int, ...], variance_norm: int = FAN_IN) -> float:
    """The `n` of xavier and msra: count/shape[0], count/shape[1] (count itself for a vector) or their mean.

    For a convolution blob (out, in/group, kh, kw) these are the usual fans; Caffe divides any other blob alike.
    """
    count = math.prod(shape)
    fan_in = count / shape[0]
    fan_out = count / (shape[1] if len(shape) > 1 else 1)
    if variance_norm == FAN_OUT:
        return fan_out
    return (fan_in + fan_out) / 2 if variance_norm == AVERAGE else fan_in


def _constant(shape: tuple[int, ...], p: Any, g: torch.Generator | None) -> Tensor:
    return torch.full(shape, p.value)


def _uniform(shape: tuple[int, ...], p: Any, g: torch.Generator | None) -> Tensor:
    return torch.rand(shape, generator=g) * (p.max - p.min) + p.min


def _gaussian(shape: tuple[int, ...], p: Any, g: torch.Generator | None) -> Tensor:
    values = torch.randn(shape, generator=g) * p.std + p.mean
    if p.sparse >= 0:
        # On average `sparse` of the inputs of each output survive: Caffe divides by the number of outputs.
        keep = min(1.0, p.sparse / shape[0])
        values = values * torch.bernoulli(torch.full(shape, keep), generator=g)
    return values


def _positive_unitball(shape: tuple[int, ...], p: Any, g: torch.Generator | None) -> Tensor:
    values = torch.rand(shape, generator=g).reshape(shape[0], -1)
    return (values / values.sum(1, keepdim=True)).reshape(shape)


def _xavier(shape: tuple[int, ...], p: Any, g: torch.Generator | None) -> Tensor:
    scale = math.sqrt(3.0 / fan(shape, p.variance_norm))
    return (torch.rand(shape, generator=g) * 2 - 1) * scale


def _msra(shape: tuple[int, ...], p: Any, g: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=g) * math.sqrt(2.0 / fan(shape, p.variance_norm))


def _bilinear(shape: tuple[int, ...], p: Any, g: torch.Generator | None) -> Tensor:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ValueError(f"a bilinear filler needs a square 4-axis blob, got shape {tuple(shape)}")
    width = shape[3]
    half = math.ceil(width / 2)
    centre = (width - 1) / (2.0 * half)
    ramp = 1 - (torch.arange(width, dtype=torch.float64) / half - centre).abs()
    return (ramp[:, None] * ramp[None, :]).expand(shape)


_FILLERS = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}


@torch.no_grad()
def fill(tensor: Tensor, filler: Any, generator: torch.Generator | None = None) -> Tensor:
    """Fill `tensor` in place as Caffe's `filler` (a FillerParameter message) does, and return it.

    `generator` is a CPU generator (default: torch's global one). Raises ValueError for a filler type that Caffe does
    not have, for `sparse` on a filler other than gaussian, and for an empty tensor.
    """
    make = _FILLERS.get(filler.type)
    if make is None:
        raise ValueError(f"unknown filler type {filler.type!r}; Caffe has {', '.join(_FILLERS)}")
    if filler.sparse != -1 and filler.type != "gaussian":
        raise ValueError(f"filler {filler.type!r} has sparse: {filler.sparse}, which only a gaussian filler may have")
    if tensor.numel() == 0 or tensor.dim() == 0:
        raise ValueError(f"cannot fill a blob of shape {tuple(tensor.shape)}")
    return tensor.copy_(make(tuple(tensor.shape), filler, generator))
