"""Deep_Metric's Weight loss, the "weight" method of its README."""

from __future__ import annotations

from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import log_sum_exp
from ports.losses._pair_loss import PairLoss, check_variant
from ports.miners import multi_similarity_pairs


class WeightLoss(PairLoss):
    """1/N sum_i [ 2/beta log(1 + sum_P e^{-beta (s - 0.5)}) + 2/alpha log(1 + sum_N e^{alpha (s - 0.5)}) ].

    Only "as_released" exists: losses/Weight.py of the repository's older copies (alpha 10, beta 2; its script passes
    alpha 40). `hard_mining=True` keeps the Multi-Similarity miner's pairs (0.1) and is then exactly twice
    `MultiSimilarityLoss`; without it (its default, named by its author as the cause of failed reproductions) all pairs
    count. Self pairs are removed by value, s < `cutoff` = 1 (see `ContrastiveLoss`). Mined anchors without positives or
    negatives add 0 (the original stops with an IndexError).
    """

    def __init__(
        self,
        alpha: float = 10.0,
        beta: float = 2.0,
        *,
        hard_mining: bool = False,
        cutoff: float = 1.0,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released",))
        check_numbers(self, alpha=alpha, beta=beta, cutoff=cutoff)
        self.alpha = alpha
        self.beta = beta
        self.hard_mining = hard_mining
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        return sum_of_rows(similarity(batch), self._terms, same, batch.negative) / len(batch.embeddings)

    def _terms(self, sim: Tensor, same: Tensor, negative: Tensor) -> Tensor:
        positive = same & (sim.detach() < self.cutoff)
        if self.hard_mining:
            positive, negative = multi_similarity_pairs(sim, positive, negative, 0.1)
            mined = positive.any(1, keepdim=True) & negative.any(1, keepdim=True)
            positive, negative = positive & mined, negative & mined
        attract = 2 / self.beta * log_sum_exp(sim, positive, scale=-self.beta, base=0.5, plus_one=True)
        repel = 2 / self.alpha * log_sum_exp(sim, negative, scale=self.alpha, base=0.5, plus_one=True)
        return attract + repel
