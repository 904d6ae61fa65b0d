"""Semi-hard loss: Deep_Metric's pair form, and FaceNet's triplet form (Schroff et al., CVPR 2015)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import gram_squared_distances, similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import log_sum_exp
from ports.losses._mixing import released_rows
from ports.losses._pair_loss import PairLoss, check_variant
from ports.miners import semi_hard_pairs


class SemiHardLoss(PairLoss):
    """Use only pairs that are hard, but not the hardest.

    variant:
      "as_released"  Deep_Metric, losses/SemiHard.py: 1/N sum_i [ 2/beta log(1 + sum_{P'} e^{-beta (s - 0.5)}) +
                     2/alpha log(1 + sum_{N'} e^{alpha (s - 0.5)}) ], N' = {s < largest positive}, P' = {s > smallest
                     negative}. The committed file is an IndentationError; this is the older copies' text. Its own
                     defaults (alpha 0, beta None) divide by nothing, so 40 and 2 stand here. Pairs are reshaped as
                     `ports.losses._mixing` describes: unequal class sizes are mixed up or, where the original stops,
                     keep their own pairs. An empty side adds 0.
      "paper"        FaceNet, equation 3 with the selection of equation 4: for every (anchor, positive) the closest
                     negative that is farther than the positive; mean over the positive pairs of
                     max(0, d_ap^2 - d_an^2 + margin), margin 0.2. A pair with no such negative adds 0.
    """

    def __init__(
        self, alpha: float = 40.0, beta: float = 2.0, margin: float = 0.2, *, variant: str = "as_released"
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        check_numbers(self, alpha=alpha, beta=beta, margin=margin)
        self.alpha = alpha
        self.beta = beta
        self.margin = margin

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        if self.variant == "paper":
            return self._paper(batch)
        sim, positive, negative = similarity(batch), batch.positive, batch.negative
        if batch.itself:
            sim, positive, negative = released_rows(sim, positive, negative)
        return sum_of_rows(sim, self._terms, positive, negative) / len(batch.embeddings)

    def _terms(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        positive, negative = semi_hard_pairs(sim, positive, negative)
        attract = 2 / self.beta * log_sum_exp(sim, positive, scale=-self.beta, base=0.5, plus_one=True)
        repel = 2 / self.alpha * log_sum_exp(sim, negative, scale=self.alpha, base=0.5, plus_one=True)
        return attract + repel

    def _paper(self, batch: PairBatch) -> Tensor:
        squared = gram_squared_distances(batch.embeddings, batch.partners)
        total = sum_of_rows(squared, self._hinges, batch.positive, batch.negative, pairs=2**11)
        return total / batch.positive.count_nonzero().clamp_min(1)

    def _hinges(self, squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        active, chosen_by = self._choices(squared.detach(), positive, negative)
        # +1 for an active positive, minus the number of positives that chose it for a negative.
        count = active.to(chosen_by.dtype) - chosen_by
        return (count * squared).sum(1) + self.margin * active.sum(1).to(squared)

    def _choices(self, value: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M) whether a positive has a semi-hard negative, and how many positives chose a negative.

        The loss is linear in the distances, so it needs only these numbers, which come from sorting: a negative is chosen
        by the positives between its predecessor and itself.
        """
        negatives, order = value.masked_fill(~negative, math.inf).sort(1)
        next_farther = torch.searchsorted(negatives, value, right=True).clamp_max(value.shape[1] - 1)
        chosen = negatives.gather(1, next_farther)
        active = positive & (chosen > value) & (chosen < value + self.margin)
        positives = value.masked_fill(~active, math.inf).sort(1).values
        before = torch.cat([negatives.new_full((len(negatives), 1), -math.inf), negatives[:, :-1]], 1)
        chosen_by = torch.searchsorted(positives, negatives) - torch.searchsorted(positives, before)
        return active, chosen_by.gather(1, order.argsort(1)).masked_fill_(~negative, 0)
