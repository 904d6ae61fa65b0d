"""Distances between all pairs, and forces along them, without an N x N x D array.

The Caffe layers sum (x_i - x_j)^2. The usual |x_i|^2 + |x_j|^2 - 2 x_i.x_j loses half of the digits of a small distance
(float64: two equal rows end up 1e-8 apart, which TPAMI's unit force then turns into a large one). Here float32 rows are
multiplied in float64, and float64 rows are split into a coarse part, whose products add up without any rounding, and a small
rest. Equal rows have distance 0 exactly, and CPU and CUDA agree to the last digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor


class SquaredDistances:
    """Squared Euclidean distances of the rows of `x` (N, D) and `y` (M, D; None: `x`), in float64, without gradient.

    Absolute error, relative to D * max|x|^2: about 2^-70 for float64 rows, 2^-52 for float32 rows (whose own rounding is
    2^-24). What is below it is 0.
    """

    def __init__(self, x: Tensor, y: Tensor | None = None) -> None:
        self.x = x.detach().double()
        self.y = self.x if y is None else y.detach().double()
        self.split = x.dtype == torch.float64 or (y is not None and y.dtype == torch.float64)
        if min(*self.x.shape, *self.y.shape) == 0:
            self.split = False
        elif self.split:
            # D products of two `bits`-bit integers still fit float64's 53 bits, whatever the order of the sum.
            bits = (53 - math.ceil(math.log2(x.shape[1]))) // 2
            largest = torch.maximum(self.x.abs().amax(), self.y.abs().amax())
            self.step = torch.exp2(torch.frexp(largest).exponent.double() - bits)
            self.noise = x.shape[1] * (largest * 2.0 ** -((53 + bits) / 2)).square()
            self.y_coarse = torch.round(self.y / self.step).mul_(self.step)
            self.y_rest = self.y - self.y_coarse
            self.y_norms = self.y_coarse.square().sum(1)
            self.y_extra = (self.y + self.y_coarse).mul_(self.y_rest).sum(1)
        if not self.split:
            self.y_norms = torch.linalg.vector_norm(self.y, dim=1).square()
            self.noise = max(x.shape[1], 1) ** 0.5 * 2.0**-51 * self.y_norms.amax() if self.y.numel() else 0.0

    def rows(self, start: int = 0, stop: int | None = None) -> Tensor:
        """(stop - start, M) squared distances of these rows of `x` from all of `y`."""
        x = self.x[start:stop]
        if not self.split:
            norms = torch.linalg.vector_norm(x, dim=1).square()[:, None]
            squared = (norms + self.y_norms).addmm_(x, self.y.T, alpha=-2)
            return torch.where(squared > self.noise, squared, 0.0)
        coarse = torch.round(x / self.step).mul_(self.step)
        rest = x - coarse
        # |a + b|^2 = |a|^2 + (2a + b).b  with a, b the differences of the coarse parts and of the rests
        fine = ((x + coarse) * rest).sum(1)[:, None] + self.y_extra
        fine = fine.addmm_(x, self.y_rest.T, alpha=-2).addmm_(rest, self.y_coarse.T, alpha=-2)
        squared = coarse.square().sum(1)[:, None] + self.y_norms
        squared = squared.addmm_(coarse, self.y_coarse.T, alpha=-2).add_(fine)
        return torch.where(squared > self.noise, squared, 0.0)


def squared_distances(x: Tensor, y: Tensor | None = None) -> Tensor:
    """(N, M) float64 squared distances; see SquaredDistances."""
    return SquaredDistances(x, y).rows()


def row_blocks(rows: int, columns: int, device: torch.device, pairs: int = 2**13) -> Iterator[tuple[int, int]]:
    """(start, stop) of blocks of rows: on a CPU few enough for its caches (`pairs`), on a GPU enough to keep it busy."""
    if columns == 0:
        return
    least, pairs = (32, pairs) if device.type == "cpu" else (256, 2**18)
    size = max(least, pairs // columns)
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def forces(coefficients: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
    """(N, D) sums over j of coefficients[i, j] * (x_i - y_j); a float64 product with `coefficients` (N, M)."""
    x = x.detach().double()
    y = x if y is None else y.detach().double()
    return add_forces(torch.zeros_like(x), coefficients, x, y)


def add_forces(total: Tensor, coefficients: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Add the forces to `total` (N, D), in place; all float64, nothing of the size of x or y is made."""
    return total.addcmul_(coefficients.sum(1, keepdim=True), x).addmm_(coefficients, y, alpha=-1)


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
