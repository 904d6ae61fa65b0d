"""What the pair losses of the Python originals share: the call, the self-pair rule, and masked reductions.

Everything is dense (anchors x partners) tensor code under boolean masks. A row whose mask is empty reduces to a
finite neutral value with zero gradient, so no loss needs a branch on data.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ports.losses._inputs import PairBatch, autocast_off, nan_where_not_finite, pair_batch
from ports.losses._once import once


def check_variant(loss: object, variant: str, allowed: tuple[str, ...]) -> str:
    """`variant` if this loss has it; ValueError that lists the choices otherwise."""
    if variant not in allowed:
        raise ValueError(f"{type(loss).__name__} has no variant {variant!r}; choose one of {', '.join(allowed)}")
    return variant


class PairLoss(nn.Module):
    """A loss over (anchor, partner) pairs; subclasses define `compute(batch, same)`.

    `forward(embeddings (N, D), labels (N,), indices_tuple=None, ref_emb=None, ref_labels=None, *, exclude=None)` returns
    a scalar in the dtype of the embeddings (float32 for float16 and bfloat16, also under autocast). With `ref_emb` (M, D)
    and `ref_labels` (M,) the partners are those rows (a memory) instead of the batch. `indices_tuple` restricts the
    pairs to those of a miner; `exclude` (N, M) bool leaves pairs out (a memory marks each anchor's own copy with it).
    An empty batch, or an empty memory, gives 0; a row that is not finite makes it NaN. No second derivative (RuntimeError).
    """

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        exclude: Tensor | None = None,
    ) -> Tensor:
        batch = pair_batch(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        # The released programs compare labels only and drop the anchor itself later, by the value of its similarity.
        same = ~batch.negative if indices_tuple is None else batch.positive
        if exclude is not None:
            wanted = tuple(batch.positive.shape)
            if not isinstance(exclude, Tensor) or exclude.shape != wanted or exclude.dtype != torch.bool:
                got = (
                    f"{exclude.dtype} {tuple(exclude.shape)}" if isinstance(exclude, Tensor) else type(exclude).__name__
                )
                raise ValueError(f"exclude must be a bool torch.Tensor {wanted} (anchors x partners), got {got}")
            same = same & ~exclude
            batch = batch._replace(positive=batch.positive & ~exclude, negative=batch.negative & ~exclude)
        if batch.positive.numel() == 0:
            return batch.embeddings[:0].sum()
        with autocast_off(batch.embeddings):
            return nan_where_not_finite(self, self.compute(batch, same), **batch.rows)

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        """The scalar loss; `same` (N, M) marks equal labels, the anchor itself included where it is a partner."""
        raise NotImplementedError


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


def squared_distance(x: Tensor, y: Tensor) -> Tensor:
    """(N, M) squared Euclidean distances from the Gram matrix, not below 0; `y` may be the very tensor `x`."""
    return _SquaredDistance.apply(x, None if x is y else y)


def root(squared: Tensor, *, floor: float = 1e-12) -> Tensor:
    """Distances; below sqrt(floor) the value is sqrt(floor) and the gradient zero, never infinite."""
    return squared.clamp_min(floor).sqrt()


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
