"""Batch-all triplet loss (Hermans et al., 2017), without an N x N x N tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import gram_squared_distances, root
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._mixing import released_rows
from ports.losses._pair_loss import PairLoss, check_variant


def all_triplets(d: Tensor, positive: Tensor, negative: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Per row: sum over all (p, n) of max(0, d_p - d_n + margin), and the number of its non-zero terms; each (N,).

    The sum is linear in the distances between its kinks, so it needs only how often each distance occurs in a non-zero
    term, and that comes from two sorts: O(N^2 log N) time and memory of the size of the rows.
    """
    value = d.detach()
    bound = value + margin
    negatives = value.masked_fill(~negative, math.inf).sort(1).values
    positives = bound.masked_fill(~positive, -math.inf).sort(1).values
    # Strict comparisons on both sides: a term that is exactly zero has no gradient.
    below = torch.searchsorted(negatives, bound).masked_fill_(~positive, 0)
    above = (value.shape[1] - torch.searchsorted(positives, value, right=True)).masked_fill_(~negative, 0)
    violating = below.sum(1).to(value)  # margin times an integer would be float32
    # Both counts have the same row total, so a constant may be taken off: less cancellation in float32.
    centre = value.mean(1, keepdim=True)
    return ((below - above) * (d - centre)).sum(1) + margin * violating, violating


class BatchAllLoss(PairLoss):
    """Hinge max(0, d_ap - d_an + margin) over all triplets, d Euclidean.

    variant:
      "as_released"  losses/BatchAll.py of older copies of Deep_Metric (margin 0.2): per anchor the mean over its
                     (positive, negative) pairs, zeros included, then the mean over the anchors; d = sqrt(max(d^2, 1e-12)).
                     Pairs are reshaped as `ports.losses._mixing` describes: unequal class sizes are mixed up or, where the
                     original stops, keep their own pairs; anchors without positives or negatives add 0.
      "paper"        L_BA: mean over all triplets of the batch; `nonzero=True` is the paper's L_BA!=0, the mean over the
                     triplets that violate the margin.
    """

    def __init__(self, margin: float = 0.2, *, nonzero: bool = False, variant: str = "as_released") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        check_numbers(self, margin=margin)
        if nonzero and variant != "paper":
            raise ValueError("nonzero=True belongs to variant 'paper'; the released loss averages zeros too")
        self.margin = margin
        self.nonzero = nonzero

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        squared, positive, negative = (
            gram_squared_distances(batch.embeddings, batch.partners),
            batch.positive,
            batch.negative,
        )
        if self.variant == "as_released" and batch.itself:
            squared, positive, negative = released_rows(squared, positive, negative)
        counts: list[Tensor] = []

        def terms(squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
            total, violating = all_triplets(root(squared), positive, negative, self.margin)
            triplets = positive.sum(1) * negative.sum(1)
            if self.variant == "as_released":
                return total / triplets.clamp_min(1)
            counts.append((violating if self.nonzero else triplets).sum())
            return total

        total = sum_of_rows(squared, terms, positive, negative, pairs=2**11)
        divisor = len(batch.embeddings) if self.variant == "as_released" else torch.stack(counts).sum().clamp_min(1)
        return total / divisor
