"""Batch-hard triplet loss (Hermans et al., In Defense of the Triplet Loss, 2017)."""

from __future__ import annotations

from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import gram_squared_distances, root
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import row_max, row_min, row_sum, softplus
from ports.losses._pair_loss import PairLoss, check_variant


class BatchHardLoss(PairLoss):
    """Mean over anchors of the hinge between the farthest positive and the closest negative, d Euclidean.

    Only "paper" exists (equation 5; the released collections at hand have no file of it): max(0, margin + max d_ap -
    min d_an), or log(1 + e^{max d_ap - min d_an}) with `margin=None` (the paper's soft margin). Exact ties share the
    gradient equally. Anchors without positives or without negatives are left out of the mean.
    """

    def __init__(self, margin: float | None = 0.2, *, variant: str = "paper") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("paper",))
        check_numbers(self, margin=margin)
        self.margin = margin

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        squared = gram_squared_distances(batch.embeddings, batch.partners)
        anchors = (batch.positive.any(1) & batch.negative.any(1)).sum().clamp_min(1)
        return sum_of_rows(squared, self._terms, batch.positive, batch.negative) / anchors

    def _terms(self, squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        d = root(squared)
        value = d.detach()
        farthest = positive & (value == row_max(value, positive))
        closest = negative & (value == row_min(value, negative))
        usable = farthest.any(1) & closest.any(1)
        gap = row_sum(d, farthest) / farthest.sum(1).clamp_min(1) - row_sum(d, closest) / closest.sum(1).clamp_min(1)
        each = softplus(gap) if self.margin is None else (gap + self.margin).clamp_min(0)
        return each.masked_fill(~usable, 0)
