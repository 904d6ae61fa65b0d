"""Contrastive loss: Deep_Metric's form on similarities, Hadsell's on distances."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ports.losses._blocks import each_row, sum_of_rows
from ports.losses._exact_distances import exact_root, exact_squared_distances
from ports.losses._gram import gram_squared_distances, root, similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import row_sum
from ports.losses._pair_loss import PairLoss, check_variant

_MARGIN = {"as_released": 0.5, "paper": 1.0, "library": 1.0}


class ContrastiveLoss(PairLoss):
    """Pull positives together, push negatives away up to a margin.

    variant:
      "as_released"  Deep_Metric, losses/Contrastive.py (margin 0.5): 1/N sum_i [ sum_P (1 - s) + sum_{s > margin} s ].
                     Sums, not means, and a negative adds s, not s - margin (so the loss jumps at the margin). Positives
                     are the partners of equal label with s < `cutoff` = 1: the anchor itself leaks in wherever its
                     product rounds below 1, which adds a radial -2 x_i / N to its gradient; excluded by index it would
                     not. research-xbm uses the same loss with `cutoff=1 - 1e-5`.
      "paper"        Hadsell et al. (CVPR 2006), equation 4, averaged over the pairs: 1/2 d^2 for positives,
                     1/2 max(0, margin - d)^2 for negatives, d Euclidean, margin 1.
      "library"      pytorch-metric-learning's default: d on normalised rows, mean of the non-zero d of the positives
                     plus mean of the non-zero max(0, margin - d) of the negatives, margin 1.
    """

    def __init__(self, margin: float | None = None, *, cutoff: float = 1.0, variant: str = "as_released") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, tuple(_MARGIN))
        check_numbers(self, margin=margin, cutoff=cutoff)
        self.margin = _MARGIN[variant] if margin is None else margin
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        if self.variant == "as_released":
            return sum_of_rows(similarity(batch), self._released, same, batch.negative) / len(batch.embeddings)
        if self.variant == "paper":
            squared = gram_squared_distances(batch.embeddings, batch.partners)
            pairs = (batch.positive.count_nonzero() + batch.negative.count_nonzero()).clamp_min(1)
            return sum_of_rows(squared, self._gaps, batch.positive, batch.negative, pairs=2**13) / (2 * pairs)
        return self._library(batch)

    def _released(self, sim: Tensor, same: Tensor, negative: Tensor) -> Tensor:
        value = sim.detach()
        return row_sum(1 - sim, same & (value < self.cutoff)) + row_sum(sim, negative & (value > self.margin))

    def _gaps(self, squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """How far each pair is from where it should be, squared."""
        repel = self._gap(root(squared))
        return row_sum(squared, positive) + row_sum(repel.square(), negative)

    def _library(self, batch: PairBatch) -> Tensor:
        unit = normalize(batch.embeddings)
        # Exact, so that equal rows have distance 0 and are seen as such: the means are over what is not 0.
        squared = exact_squared_distances(unit, None if batch.itself else normalize(batch.partners))
        # Numbers instead of bools, which torch makes several times more slowly.
        apart = each_row(squared, lambda rows, mask: rows.sign().mul_(mask).sum(1), batch.positive)
        positives = apart.sum(dtype=torch.float64).clamp_min(1)
        near = each_row(squared, lambda rows, mask: self._gap(rows.sqrt()).sign_().mul_(mask).sum(1), batch.negative)
        negatives = near.sum(dtype=torch.float64).clamp_min(1)

        def terms(squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
            d = exact_root(squared)
            return row_sum(d, positive) / positives + row_sum(self._gap(d), negative) / negatives

        return sum_of_rows(squared, terms, batch.positive, batch.negative)

    def _gap(self, distance: Tensor) -> Tensor:
        return (self.margin - distance).clamp_min(0)
