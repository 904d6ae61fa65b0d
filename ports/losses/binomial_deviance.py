"""Binomial deviance loss (Yi et al., 2014) and Deep_Metric's version of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import row_mean, row_sum, softplus
from ports.losses._pair_loss import PairLoss, check_variant
from ports.miners import multi_similarity_pairs

_DEFAULTS = {"as_released": (40.0, 0.0, 0.5), "paper": (2.0, 0.5, 0.0)}  # alpha, beta, margin


def _deviance(sim: Tensor, positive: Tensor, scale_p: float, scale_n: float, base: float) -> Tensor:
    """(N, M) log(1 + e^{scale (s - base)}), each pair with the scale of its kind: one buffer for both kinds."""
    scales = sim.new_tensor([scale_p, scale_n])  # Python numbers would become float32 here
    scale = torch.where(positive, scales[0], scales[1])
    return softplus((sim - base).mul_(scale))


class BinomialDevianceLoss(PairLoss):
    """Logistic loss on every pair's similarity.

    variant:
      "as_released"  Deep_Metric, losses/Binomial.py (alpha 40, margin 0.5; train.py passes alpha 30):
                     1/N sum_i [ mean_P log(1 + e^{-2 (s - margin)}) + mean_N log(1 + e^{alpha (s - margin)}) ].
                     The slope 2 of the positives is fixed, `beta` unused, and the factors 2/alpha of the mined branch are
                     absent; with them negatives would weigh 20 times less. `hard_mining=True` is that branch: pairs of
                     the Multi-Similarity miner (0.1), 2/beta mean log(1 + e^{-beta (s - 0.5)}) +
                     2/alpha mean log(1 + e^{alpha (s - 0.5)}); it needs beta > 0.
                     Self pairs are removed by value, s < `cutoff` = 1 (see `ContrastiveLoss`).
      "paper"        Yi et al., Deep Metric Learning for Practical Person Re-Identification, equation 7, with
                     W = 1/(number of pairs of that kind): mean over positive pairs of log(1 + e^{-alpha (s - beta)}) plus
                     mean over negative pairs of log(1 + e^{alpha cost (s - beta)}); alpha 2, beta 0.5, `cost` 1.
    Anchors without negatives are skipped as released; an anchor without positives adds its negatives only (NaN in the
    original, a crash when mined: there the anchor adds 0).
    """

    def __init__(
        self,
        alpha: float | None = None,
        beta: float | None = None,
        margin: float | None = None,
        *,
        hard_mining: bool = False,
        cost: float = 1.0,
        cutoff: float = 1.0,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, tuple(_DEFAULTS))
        check_numbers(self, alpha=alpha, beta=beta, margin=margin, cost=cost, cutoff=cutoff)
        defaults = _DEFAULTS[variant]
        self.alpha = defaults[0] if alpha is None else alpha
        self.beta = defaults[1] if beta is None else beta
        self.margin = defaults[2] if margin is None else margin
        self.hard_mining = hard_mining
        self.cost = cost
        self.cutoff = cutoff
        if hard_mining and (variant == "paper" or self.beta <= 0):
            raise ValueError(f"hard_mining needs variant 'as_released' and beta > 0, got {variant!r} and {self.beta}")

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        if self.variant == "paper":
            return self._paper(batch)
        return sum_of_rows(similarity(batch), self._terms, same, batch.negative) / len(batch.embeddings)

    def _paper(self, batch: PairBatch) -> Tensor:
        positives, negatives = (mask.count_nonzero().clamp_min(1) for mask in (batch.positive, batch.negative))

        def terms(sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
            each = _deviance(sim, positive, -self.alpha, self.alpha * self.cost, self.beta)
            return row_sum(each, positive) / positives + row_sum(each, negative) / negatives

        return sum_of_rows(similarity(batch), terms, batch.positive, batch.negative)

    def _terms(self, sim: Tensor, same: Tensor, negative: Tensor) -> Tensor:
        positive = same & (sim.detach() < self.cutoff)
        if self.hard_mining:
            positive, negative = multi_similarity_pairs(sim, positive, negative, 0.1)
            used = positive.any(1) & negative.any(1)
            each = _deviance(sim, positive, -self.beta, self.alpha, 0.5)
            attract, repel = 2 / self.beta * row_mean(each, positive), 2 / self.alpha * row_mean(each, negative)
        else:
            used = negative.any(1)
            each = _deviance(sim, positive, -2, self.alpha, self.margin)
            attract, repel = row_mean(each, positive), row_mean(each, negative)
        return (attract + repel).masked_fill(~used, 0)
