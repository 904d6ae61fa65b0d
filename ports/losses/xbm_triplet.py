"""research-xbm's triplet loss, a hard-mined pair loss that its memory can be used with."""

from __future__ import annotations

import torch
from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import row_max, row_sum
from ports.losses._pair_loss import PairLoss, check_variant


class XbmTripletLoss(PairLoss):
    """1/N sum_i [ sum_{P'} (1 - s) + sum_{N'} s ], P' = {s < largest negative + margin}, N' = {s > t - margin}.

    t = max(`floor`, largest positive of the anchor). Only "as_released" exists: research-xbm, losses/triplet_loss.py,
    whose text has 0.6 as the constant `floor` (the recorded runs alone only show that it is at least 0.34).
    The original removes the anchor by subtracting the identity from the first N columns of a uint8 mask, whatever those
    columns hold. With the batch as its own partners that is right. With a memory (`ref_emb`) a column i that is NOT of
    anchor i's class wraps around to 255 and becomes a wrong positive (while staying a negative), and a right positive
    there is lost; excluded by identity instead, neither would happen. Anchors without positives or without negatives
    add 0, and so does a memory smaller than the batch, with which the original stops.
    """

    def __init__(self, margin: float = 0.1, *, floor: float = 0.6, variant: str = "as_released") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released",))
        check_numbers(self, margin=margin, floor=floor)
        self.margin = margin
        self.floor = floor

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        positive = batch.positive
        if not batch.itself:
            rows, columns = same.shape
            if columns < rows:
                return (batch.embeddings.sum() + batch.partners.sum()) * 0
            positive = same ^ torch.eye(rows, columns, dtype=torch.bool, device=same.device)
        return sum_of_rows(similarity(batch), self._terms, positive, batch.negative) / len(batch.embeddings)

    def _terms(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        value = sim.detach()
        usable = positive.any(1, keepdim=True) & negative.any(1, keepdim=True)
        kept_positive = usable & positive & (value < row_max(value, negative) + self.margin)
        threshold = row_max(value, positive).clamp_min(self.floor) - self.margin
        kept_negative = usable & negative & (value > threshold)
        return row_sum(1 - sim, kept_positive) + row_sum(sim, kept_negative)
