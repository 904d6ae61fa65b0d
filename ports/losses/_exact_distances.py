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

from ports.losses._blocks import row_blocks
from ports.losses._once import once

_MANY = 256  # rows: beside their N x N numbers, a wider float64 copy of their columns hardly counts


def _product_rows(rows: int, columns: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """(start, stop) of blocks for matrix products: larger than the caches' blocks, so that the other rows are raised to
    float64 a few times only; a sixth of the pairs, of many a tenth, which is what memory allows.
    """
    pairs = rows * columns
    return row_blocks(rows, columns, device, max(2**14, pairs // 10, min(pairs // 6, 2**16)))


class SquaredDistances:
    """Squared Euclidean distances of the rows of `x` (N, D) and `y` (M, D; None: `x`), in float64, without gradient.

    Absolute error, relative to D * max|x|^2: about 2^-70 for float64 rows, 2^-52 for float32 rows (whose own rounding is
    2^-24). What is below it is 0.
    """

    def __init__(self, x: Tensor, y: Tensor | None = None) -> None:
        self.x = x.detach()
        self.y = self.x if y is None else y.detach()
        self.split = x.dtype == torch.float64
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
            self.x_norms = _square_norms(self.x)
            self.y_norms = self.x_norms if y is None else _square_norms(self.y)
            self.noise = max(x.shape[1], 1) ** 0.5 * 2.0**-51 * self.y_norms.amax() if self.y.numel() else 0.0

    def blocks(self, most: int = 2**16) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, `rows(start, stop)`) of blocks that fit a cache, in order; of a CPU of at most so many pairs."""
        return self._blocks(most, upper=False)

    def upper_blocks(self, most: int = 2**16) -> Iterator[tuple[int, int, Tensor]]:
        """(start, stop, `rows(start, stop)[:, start:]`): of rows among themselves each pair once (in `[:, : stop - start]` twice)."""
        return self._blocks(most, upper=True)

    def _blocks(self, most: int, upper: bool) -> Iterator[tuple[int, int, Tensor]]:
        rows, columns, device = len(self.x), len(self.y), self.x.device
        # A sixteenth of the pairs: the float64 buffers of a block come to about one float32 matrix of all pairs. From N = 725 on a
        # block is large enough for torch to share it out over threads (32,768 numbers).
        pairs = min(max(rows * columns // 16, 2**13), most)
        for first, last in _product_rows(rows, columns, device):
            left = first if upper else 0
            product = self.rows(first, last, left)
            for start, stop in row_blocks(last - first, columns - left, device, pairs):
                yield first + start, first + stop, product[start:stop, start if upper else 0 :]
            del product  # before the next one is made; a caller's loop lets go of its part likewise

    def rows(self, start: int = 0, stop: int | None = None, left: int = 0) -> Tensor:
        """(stop - start, M - left) squared distances of these rows of `x` from those of `y` from `left` on."""
        x = self.x[start:stop]
        if not self.split:
            squared = self.x_norms[start:stop, None] + self.y_norms[left:]
            for columns in _columns(self.y[left:], least=2**15, wide=128):
                y = self.y[left:, columns].double()
                # Rows of `x` that are rows of `y` as well need not be raised again.
                own = y[start - left :][: len(x)] if self.y is self.x else x[:, columns].double()
                squared.addmm_(own, y.T, alpha=-2)
                del y, own  # before the next ones are made
            return _zero_below(squared, self.noise)
        coarse = torch.round(x / self.step).mul_(self.step)
        rest = x - coarse
        # |a + b|^2 = |a|^2 + (2a + b).b  with a, b the differences of the coarse parts and of the rests
        fine = ((x + coarse) * rest).sum(1)[:, None] + self.y_extra[left:]
        fine = fine.addmm_(x, self.y_rest[left:].T, alpha=-2).addmm_(rest, self.y_coarse[left:].T, alpha=-2)
        squared = coarse.square().sum(1)[:, None] + self.y_norms[left:]
        squared = squared.addmm_(coarse, self.y_coarse[left:].T, alpha=-2).add_(fine)
        return _zero_below(squared, self.noise)


def _zero_below(squared: Tensor, noise: Tensor | float) -> Tensor:
    """In place; NaN stays."""
    # A comparison's bools become numbers far more slowly than numbers are compared; sign() of a difference is 1 or 0 here.
    return squared.mul_((squared - noise).sign_().clamp_(min=0))


def _columns(x: Tensor, *, least: int, wide: int) -> Iterator[slice]:
    """Slices of the columns of `x` (N, D), of equal width: few of float32, whose float64 copies would be most of a loss's
    memory. A copy has `least` numbers, or `wide` columns if these are more.
    """
    few = x.dtype == torch.float32 and x.device.type == "cpu"
    dimension = max(x.shape[1], 1)
    parts = math.ceil(dimension / max(wide, least // max(len(x), 1))) if few else 1
    width = math.ceil(dimension / parts)
    for start in range(0, x.shape[1], width):
        yield slice(start, start + width)


def _square_norms(x: Tensor) -> Tensor:
    norms = x.new_zeros(len(x), dtype=torch.float64)
    for columns in _columns(x, least=2**14, wide=64):
        norms += x[:, columns].double().square_().sum(1)
    return norms


def forces(coefficients: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(N, D) sums over j of coefficients[i, j] * (x_i - y_j), (N, M) with (N, D) and (M, D); products in float64."""
    total = torch.empty_like(x)
    itself = x is y
    for start, stop in _product_rows(len(x), len(y), x.device):
        block = coefficients[start:stop].to(torch.float64, copy=True)
        sums = block.sum(1, keepdim=True)
        block.neg_()
        if itself:  # one product does both
            block[:, start:stop].diagonal().add_(sums[:, 0])
        for columns in _columns(y, least=2**13, wide=96 if len(y) < _MANY else 128):
            other = y[:, columns].double()
            if itself:
                total[start:stop, columns] = block @ other
            else:
                total[start:stop, columns] = (sums * x[start:stop, columns]).addmm_(block, other)
            del other  # before the next one is made
        del block
    return total if len(y) else total.zero_()


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, y)
        squared = SquaredDistances(x, y)
        result = x.new_empty(len(x), len(squared.y))
        for start, stop in _product_rows(len(x), len(squared.y), x.device):
            if y is not None:
                result[start:stop] = squared.rows(start, stop)
            else:
                result[start:stop, start:] = squared.rows(start, stop, start)
                result[stop:, start:stop] = result[start:stop, stop:].T
        return result

    @staticmethod
    @once
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        x, y = ctx.saved_tensors
        if y is None:
            return forces(upstream + upstream.T, x, x).mul_(2), None
        grad_x = forces(upstream, x, y).mul_(2) if ctx.needs_input_grad[0] else None
        grad_y = forces(upstream.T, y, x).mul_(2) if ctx.needs_input_grad[1] else None
        return grad_x, grad_y


def exact_squared_distances(x: Tensor, y: Tensor | None = None) -> Tensor:
    """(N, M) squared distances with their derivative, in the dtype of `x` and precise to its last digits."""
    return _SquaredDistances.apply(x, y)


class _Root(torch.autograd.Function):
    """Without bools, which torch makes and reads several times more slowly than numbers."""

    @staticmethod
    def forward(ctx, squared: Tensor) -> Tensor:  # type: ignore[override]
        distance = squared.sqrt()
        ctx.save_for_backward(distance)
        return distance

    @staticmethod
    @once
    def backward(ctx, upstream: Tensor) -> Tensor:  # type: ignore[override]
        (distance,) = ctx.saved_tensors
        apart = distance.sign()
        return (apart * upstream).div_(
            apart.neg_().add_(1).add_(distance, alpha=2)
        )  # 2 d, or 1 where the rows are equal


def exact_root(squared: Tensor) -> Tensor:
    """Distances; d = 0 has no derivative, and 0 is the one that keeps equal rows where they are. No second derivative."""
    return _Root.apply(squared)


class _Forced(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor | None, value: Tensor, coefficients: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, y, coefficients)
        return value.clone()

    @staticmethod
    @once
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor | None, None, None]:  # type: ignore[override]
        x, y, coefficients = ctx.saved_tensors
        grad_x = forces(coefficients, x, x if y is None else y).mul_(upstream)
        wanted = y is not None and ctx.needs_input_grad[1]
        return grad_x, forces(coefficients.T, y, x).mul_(upstream) if wanted else None, None, None


def forced(x: Tensor, y: Tensor | None, value: Tensor, coefficients: Tensor) -> Tensor:
    """A scalar that reports `value` and whose backward is the `forces` of the constant `coefficients` (N, M) on `x`.

    Partners `y` (M, D) get the same forces the other way round, unless they are detached. Without `y` the rows of `x` are
    their own partners, and `coefficients` holds all that acts on a row. Caffe's layers differentiate something else than
    they report; value and gradient are rounded once, to the dtype of `x`.
    """
    return _Forced.apply(x, y, value.to(x.dtype), coefficients)
