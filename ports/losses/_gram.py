"""Similarities and distances from the Gram matrix x @ y.T, as the Python originals take them.

Of a small distance this loses half of the digits; `ports.losses._exact_distances` does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ports.losses._inputs import PairBatch, autocast_off
from ports.losses._once import once


class _SelfProduct(torch.autograd.Function):
    """x @ x.T with one matrix product in its backward instead of two, and one (N, D) buffer instead of three."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x @ x.T

    @staticmethod
    @once
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        (gradient,) = gradients
        with autocast_off(x):
            return (gradient + gradient.T) @ x


def inner_products(x: Tensor, y: Tensor) -> Tensor:
    """(N, M) matrix x @ y.T; `y` may be the very tensor `x`."""
    return _SelfProduct.apply(x) if x is y else x @ y.T


def similarity(batch: PairBatch) -> Tensor:
    """(N, M) inner products; cosine when the rows have unit norm."""
    return inner_products(batch.embeddings, batch.partners)


class _SquaredDistance(torch.autograd.Function):
    """From the Gram matrix; keeps nothing of its size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, y)
        norms = x.square().sum(1)
        partner_norms = norms if y is None else y.square().sum(1)
        return (norms[:, None] + partner_norms).addmm_(x, (x if y is None else y).T, alpha=-2).clamp_(min=0)

    @staticmethod
    @once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        (force,) = gradients
        with autocast_off(x):
            if y is None:
                return _pull(force + force.T, x, x), None
            grad_x = _pull(force, x, y) if ctx.needs_input_grad[0] else None
            grad_y = _pull(force.T, y, x) if ctx.needs_input_grad[1] else None
            return grad_x, grad_y


def _pull(force: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, D) sums over j of 2 force[i, j] (x_i - y_j)."""
    return (2 * force.sum(1, keepdim=True) * x).addmm_(force, y, alpha=-2)


def gram_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, M) squared Euclidean distances from the Gram matrix, not below 0; `y` may be the very tensor `x`."""
    return _SquaredDistance.apply(x, None if x is y else y)


def root(squared: Tensor, *, floor: float = 1e-12) -> Tensor:
    """Distances; below sqrt(floor) the value is sqrt(floor) and the gradient zero, never infinite."""
    return squared.clamp_min(floor).sqrt()
