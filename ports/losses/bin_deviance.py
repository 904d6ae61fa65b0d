"""Deep_Metric's binomial deviance loss as its 2018 copies have it, under the name of that file."""

from __future__ import annotations

import torch
from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import row_mean, row_min, softplus
from ports.losses._pair_loss import PairLoss, check_variant


class BinDevianceLoss(PairLoss):
    """1/N sum_i [ mean_P log(1 + e^{-2 (s - 0.5)}) + factor mean_N' log(1 + e^{slope (s - 0.5)}) ].

    N': the negatives with s > the anchor's least positive - `margin`. An anchor without any of them is skipped; the sum is
    divided by the whole batch. Only "as_released" exists: losses/BinDevianceLoss.py of August 2018 (margin 0.05, factor 0.04,
    slope 50; its `alpha` is unused, so script values of it change nothing). HEAD's Binomial.py is another formula
    (`BinomialDevianceLoss`). Self pairs are removed by value, s < `cutoff` = 1 (see `ContrastiveLoss`). An anchor without
    positives adds 0: no least positive, nothing to compare with.

    No recording exists: that file was read, and was not run.
    """

    def __init__(
        self,
        margin: float = 0.05,
        factor: float = 0.04,
        slope: float = 50.0,
        *,
        cutoff: float = 1.0,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released",))
        check_numbers(self, margin=margin, factor=factor, slope=slope, cutoff=cutoff)
        self.margin = margin
        self.factor = factor
        self.slope = slope
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        return sum_of_rows(similarity(batch), self._terms, same, batch.negative) / len(batch.embeddings)

    def _terms(self, sim: Tensor, same: Tensor, negative: Tensor) -> Tensor:
        value = sim.detach()
        positive = same & (value < self.cutoff)
        near = negative & (value > row_min(value, positive) - self.margin)
        used = positive.any(1) & near.any(1)
        scales = sim.new_tensor([-2.0, self.slope])  # Python numbers would become float32 here
        each = softplus((sim - 0.5).mul_(torch.where(positive, scales[0], scales[1])))
        return (row_mean(each, positive) + self.factor * row_mean(each, near)).masked_fill(~used, 0)
