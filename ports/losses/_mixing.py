"""The rows that Deep_Metric's reshape makes: right for equal class sizes, pairs of different anchors otherwise.

SemiHard, triplet.py and BatchAll flatten the positives (and the negatives) of the whole batch row by row and reshape
them to (N, K - 1) and (N, N - K), K = 1 + total positives // N. Equal class sizes give each anchor its own pairs. For
some unequal sizes ((2, 6), (3, 6), (2, 2, 4)) the totals divide as well, and a "row" then holds pairs of several anchors,
so that the loss depends on the order of the batch; all other sizes stop with an error. Here the last group keeps each
anchor's own pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ports.losses._blocks import each_row


class _Permute(torch.autograd.Function):
    """`values.flatten()[order]`; its gradient gathers by the inverse order, so nothing is scattered."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return values.take(order.view_as(values))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.flatten()[inverse].view_as(gradient), None, None


def released_rows(matrix: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(matrix, positive, negative), each (N, N), with rows as the released reshape forms them.

    `positive` must be without the diagonal. Where the reshape equals the anchors' own rows, or cannot be made, the
    arguments come back in their own layout.
    """
    count = matrix.shape[0]
    total = positive.count_nonzero()
    own = each_row(positive, lambda rows: rows.sum(1))
    # K - 1 positives and N - K negatives per row; the clamp only avoids 0 // 0 where the result is not used.
    width = total // count
    mixed = (total == width * count) & (width > 0) & (width < count - 1) & (own.min() != own.max())
    if not torch.compiler.is_compiling() and not bool(mixed):
        return matrix, positive, negative  # the common case, for the price of one look at a value
    cells = torch.arange(count * count, device=matrix.device)
    row, column = cells // count, cells % count
    flat_positive, flat_negative = positive.flatten(), negative.flatten()
    positive_rank, negative_rank = flat_positive.cumsum(0) - 1, flat_negative.cumsum(0) - 1
    wide, rest = width.clamp_min(1), (count - 1 - width).clamp_min(1)
    # Place of each cell in the reshaped rows: [K - 1 positives | the diagonal | N - K negatives].
    place_positive = positive_rank // wide * count + positive_rank % wide
    place_negative = negative_rank // rest * count + width + 1 + negative_rank % rest
    place = torch.where(flat_positive, place_positive, torch.where(flat_negative, place_negative, row * count + width))
    inverse = torch.where(mixed, place, cells)
    order = torch.zeros_like(cells).scatter(0, inverse, cells)
    new_positive = torch.where(mixed, (column < width).view_as(positive), positive)
    new_negative = torch.where(mixed, (column > width).view_as(negative), negative)
    return _Permute.apply(matrix, order, inverse), new_positive, new_negative
