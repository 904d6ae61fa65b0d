"""Contrastive loss: Deep_Metric's form on similarities, Hadsell's on distances."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ports.losses._inputs import PairBatch
from ports.losses._pairs import PairLoss, check_variant, distance, row_sum, similarity

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
        self.margin = _MARGIN[variant] if margin is None else margin
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        if self.variant == "as_released":
            sim = similarity(batch)
            positive = same & (sim.detach() < self.cutoff)
            negative = batch.negative & (sim.detach() > self.margin)
            return (row_sum(1 - sim, positive) + row_sum(sim, negative)).sum() / sim.shape[0]
        if self.variant == "paper":
            d = distance(batch.embeddings, batch.partners)
            pairs = (batch.positive.sum() + batch.negative.sum()).clamp_min(1)
            # How far each pair is from where it should be; other cells 0.
            gap = torch.where(batch.positive, d, (self.margin - d).clamp_min(0) * batch.negative)
            return gap.square().sum() / (2 * pairs)
        unit = normalize(batch.embeddings)
        d = distance(unit, unit if batch.itself else normalize(batch.partners))
        attract = d.masked_fill(~batch.positive, 0)
        repel = (self.margin - d).clamp_min(0).masked_fill(~batch.negative, 0)
        return attract.sum() / (attract > 0).sum().clamp_min(1) + repel.sum() / (repel > 0).sum().clamp_min(1)
