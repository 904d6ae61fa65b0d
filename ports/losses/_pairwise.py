"""Distances between all pairs, and forces along them, without an N x N x D array.

The Caffe layers sum (x_i - x_j)^2. The usual |x_i|^2 + |x_j|^2 - 2 x_i.x_j loses half of the digits of a small distance
(float64: two equal rows end up 1e-8 apart, which TPAMI's unit force then turns into a large one). Here the rows are split
into a coarse part, whose products add up without any rounding, and a small rest, so that the same matrix products give
the small distances too, equal rows give exactly 0, and CPU and CUDA agree to the last digits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _split(x: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    coarse = torch.round(x / step) * step
    return coarse, x - coarse


def squared_distances(x: Tensor, y: Tensor | None = None) -> Tensor:
    """(N, M) float64 squared Euclidean distances of the rows of `x` (N, D) and `y` (M, D), or of `x` with itself.

    Absolute error about 2^-70 of max|x|^2 * D; what is below that is exactly 0. No gradient.
    """
    x = x.detach().double()
    y = x if y is None else y.detach().double()
    if x.shape[1] == 0 or x.shape[0] == 0 or y.shape[0] == 0:
        return x.new_zeros(x.shape[0], y.shape[0])
    # bits: D products of two `bits`-bit integers still fit float64's 53 bits, whatever the order of the sum.
    bits = (53 - math.ceil(math.log2(x.shape[1]))) // 2
    largest = torch.maximum(x.abs().amax(), y.abs().amax())
    step = torch.exp2(torch.frexp(largest).exponent.double() - bits)
    x_coarse, x_rest = _split(x, step)
    y_coarse, y_rest = (x_coarse, x_rest) if y is x else _split(y, step)
    # |a + b|^2 = |a|^2 + (2a + b).b  with a, b the differences of the coarse parts and of the rests
    x_both = x_coarse + x
    y_both = x_both if y is x else y_coarse + y
    fine = x_both @ y_rest.T
    fine = fine + (fine.T if y is x else x_rest @ y_both.T)
    fine = ((x_both * x_rest).sum(1)[:, None] + (y_both * y_rest).sum(1)).sub_(fine)
    squared = (x_coarse @ y_coarse.T).mul_(-2).add_(x_coarse.square().sum(1)[:, None])
    squared = squared.add_(y_coarse.square().sum(1)).add_(fine)
    noise = x.shape[1] * (largest * 2.0 ** -((53 + bits) / 2)).square()
    return torch.where(squared > noise, squared, 0.0)


def forces(coefficients: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
    """(N, D) sums over j of coefficients[i, j] * (x_i - y_j); a float64 product with `coefficients` (N, M)."""
    x = x.detach().double()
    y = x if y is None else y.detach().double()
    return coefficients.sum(1, keepdim=True) * x - coefficients @ y


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor | None) -> Tensor:  # type: ignore[override]
        distances = squared_distances(x, y).sqrt_().to(x.dtype)
        ctx.save_for_backward(x, y, distances)
        return distances

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        x, y, distances = ctx.saved_tensors
        # d = 0 has no derivative; 0 is the one that keeps equal rows where they are.
        force = torch.where(distances > 0, upstream / distances, 0.0).double()
        if y is None:
            return forces(force + force.T, x).to(x.dtype), None
        grad_x = forces(force, x, y).to(x.dtype) if ctx.needs_input_grad[0] else None
        grad_y = forces(force.T, y, x).to(y.dtype) if ctx.needs_input_grad[1] else None
        return grad_x, grad_y


def distances(x: Tensor, y: Tensor | None = None) -> Tensor:
    """(N, M) Euclidean distances with their derivative (0 where the distance is 0), in the dtype of `x`."""
    return _Distances.apply(x, y)


class _Released(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, upstream, None


def released(x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """A scalar that reports `value` and whose backward gives `x` the hand-written `gradient` (the shape of `x`).

    Caffe's layers differentiate something else than they report; both are rounded once, to the dtype of `x`.
    `value` may itself be such a scalar: that is how several inputs get their gradients.
    """
    return _Released.apply(x, value.to(x.dtype), gradient.to(x.dtype))
