"""Reductions over the masked entries of each row of a dense (anchors x partners) matrix.

A row whose mask is empty reduces to a finite neutral value with zero gradient, so no loss needs a branch on data.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ports.losses._once import once


class _Softplus(torch.autograd.Function):
    """Keeps its argument alone; torch's logsigmoid of a negated copy keeps three buffers of that size."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.abs().neg_().exp_().log1p_().add_(values.clamp_min(0))

    @staticmethod
    @once
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return values.sigmoid().mul_(gradients[0])


class _LogSumExp(torch.autograd.Function):
    """One buffer and one product in its backward; autograd of the steps needs one for each."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, scale: float, base: float, plus_one: bool) -> Tensor:
        terms = (values - base).mul_(scale)
        shift = terms.masked_fill(~mask, -math.inf).amax(1)
        shift = shift.clamp_min(0) if plus_one else shift.masked_fill(shift == -math.inf, 0)
        # exp() of what underflows, -inf included, is 10 to 100 times slower on a CPU: such terms become the smallest
        # normal number, beside a largest one of 1. Cells outside the mask must not overflow before they become 0.
        least = math.log(torch.finfo(terms.dtype).tiny)
        weights = terms.sub_(shift[:, None]).clamp_(least, 0).exp_().mul_(mask)
        total = weights.sum(1)
        total = total + (-shift).exp() if plus_one else total.masked_fill(total == 0, 1)
        ctx.scale = scale
        ctx.save_for_backward(weights, total)
        return total.log() + shift

    @staticmethod
    @once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        weights, total = ctx.saved_tensors
        return weights * (ctx.scale * gradients[0] / total)[:, None], None, None, None, None


def row_min(values: Tensor, mask: Tensor) -> Tensor:
    """(N, 1) smallest masked entry of each row, +inf for an empty row; a constant to autograd."""
    filled = values.detach().masked_fill(~mask, math.inf)
    return filled.amin(1, keepdim=True)


def row_max(values: Tensor, mask: Tensor) -> Tensor:
    """(N, 1) largest masked entry of each row, -inf for an empty row; a constant to autograd."""
    return -row_min(-values, mask)


def row_sum(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) sum of the masked entries of each row, 0 for an empty row."""
    return values.masked_fill(~mask, 0).sum(1)


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) mean of the masked entries of each row, 0 for an empty row."""
    return row_sum(values, mask) / mask.sum(1).clamp_min(1)


def log_sum_exp(values: Tensor, mask: Tensor, *, scale: float, base: float = 0.0, plus_one: bool = False) -> Tensor:
    """(N,) log of the row's sum of e^{scale (value - base)} over the mask, or of 1 + that sum with `plus_one`.

    An empty row gives 0 with zero gradient. Shifted by the largest exponent, so it cannot overflow where the originals'
    unshifted exp would.
    """
    return _LogSumExp.apply(values, mask, scale, base, plus_one)


def softplus(values: Tensor) -> Tensor:
    """log(1 + e^values) without torch.nn.functional.softplus' linear branch, which is off by 2e-9 from 20 on."""
    return _Softplus.apply(values)
