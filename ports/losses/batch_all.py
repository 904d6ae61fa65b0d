"""Batch-all triplet loss (Hermans et al., 2017), without an N x N x N tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ports.losses._inputs import PairBatch
from ports.losses._mixing import released_rows
from ports.losses._pairs import PairLoss, check_variant, distance
from ports.losses._pairwise import row_blocks


def all_triplets(d: Tensor, positive: Tensor, negative: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Per row: sum over all (p, n) of max(0, d_p - d_n + margin), and the number of its non-zero terms; each (N,).

    The sum is linear in the distances between its kinks, so it needs only how often each distance occurs in a non-zero
    term, and that comes from two sorts: O(N^2 log N) time and O(N^2) memory.
    """
    value = d.detach()
    count, violating = torch.empty_like(value), torch.empty_like(value[:, 0])
    # The sorts' buffers are several times the matrix: a block of rows at a time.
    for start, stop in row_blocks(value.shape[0], value.shape[1], value.device):
        rows, is_positive, is_negative = value[start:stop], positive[start:stop], negative[start:stop]
        bound = rows + margin
        negatives = rows.masked_fill(~is_negative, math.inf).sort(1).values
        positives = bound.masked_fill(~is_positive, -math.inf).sort(1).values
        # Strict comparisons on both sides: a term that is exactly zero has no gradient.
        below = torch.searchsorted(negatives, bound).masked_fill_(~is_positive, 0)
        above = (rows.shape[1] - torch.searchsorted(positives, rows, right=True)).masked_fill_(~is_negative, 0)
        count[start:stop] = below - above
        violating[start:stop] = below.sum(1)
    # Both counts have the same row total, so a constant may be taken off: less cancellation in float32.
    centre = value.mean(1, keepdim=True)
    return (count * (d - centre)).sum(1) + margin * violating, violating


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
        if nonzero and variant != "paper":
            raise ValueError("nonzero=True belongs to variant 'paper'; the released loss averages zeros too")
        self.margin = margin
        self.nonzero = nonzero

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        d, positive, negative = distance(batch.embeddings, batch.partners), batch.positive, batch.negative
        if self.variant == "as_released" and batch.itself:
            d, positive, negative = released_rows(d, positive, negative)
        total, violating = all_triplets(d, positive, negative, self.margin)
        triplets = positive.sum(1) * negative.sum(1)
        if self.variant == "as_released":
            return (total / triplets.clamp_min(1)).sum() / d.shape[0]
        return total.sum() / (violating if self.nonzero else triplets).sum().clamp_min(1)
