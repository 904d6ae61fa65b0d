"""A loss that reports one value and differentiates another, as Caffe's layers do."""

from __future__ import annotations

import torch
from torch import Tensor

from ports.losses._once import once


class _Released(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gradient, x)
        return value.clone()

    @staticmethod
    @once
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        gradient, _ = ctx.saved_tensors
        return upstream * gradient, upstream, None


def released(x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """A scalar that reports `value` and whose backward gives `x` the hand-written `gradient` (the shape of `x`).

    Caffe's layers differentiate something else than they report; both are rounded once, to the dtype of `x`.
    `value` may itself be such a scalar: that is how several inputs get their gradients.
    """
    return _Released.apply(x, value.to(x.dtype), gradient.to(x.dtype))
