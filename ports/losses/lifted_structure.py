"""Lifted structure loss (Song et al., CVPR 2016) and Deep_Metric's modified form."""

from __future__ import annotations

import torch
from torch import Tensor

from ports.losses._blocks import each_row, sum_of_rows
from ports.losses._gram import gram_squared_distances, root, similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import log_sum_exp, row_sum
from ports.losses._pair_loss import PairLoss, check_variant
from ports.miners import multi_similarity_pairs


class LiftedStructureLoss(PairLoss):
    """Soft maximum over the negatives of a pair against its positives.

    variant:
      "as_released"  Deep_Metric, losses/LiftedStructure.py (alpha 40, beta 2), "modified ... because of its original weak
                     performance": 1/N sum_i [ 2/beta log sum_P e^{-beta s} + 2/alpha log sum_N e^{alpha s} ]. No margin,
                     no hinge, no square: it can be negative. `hard_mining=True` keeps the Multi-Similarity miner's
                     pairs (0.1). Self pairs are removed by value, s < `cutoff` = 1 (see `ContrastiveLoss`).
      "paper"        equation 4: 1/(2 |P|) sum over positive pairs of max(0, J)^2,
                     J_ij = log( sum_k e^{margin - d_ik} + sum_l e^{margin - d_jl} ) + d_ij over the negatives k of i and
                     l of j, d Euclidean, margin 1. pytorch-metric-learning computes this on normalised rows.
    As released, an anchor without negatives is skipped; one without positives adds its negatives only (-inf in the
    original, a crash when mined: there the anchor adds 0).
    """

    def __init__(
        self,
        alpha: float = 40.0,
        beta: float = 2.0,
        margin: float = 1.0,
        *,
        hard_mining: bool = False,
        cutoff: float = 1.0,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        check_numbers(self, alpha=alpha, beta=beta, margin=margin, cutoff=cutoff)
        self.alpha = alpha
        self.beta = beta
        self.margin = margin
        self.hard_mining = hard_mining
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        if self.variant == "paper":
            return self._paper(batch)
        return sum_of_rows(similarity(batch), self._terms, same, batch.negative) / len(batch.embeddings)

    def _terms(self, sim: Tensor, same: Tensor, negative: Tensor) -> Tensor:
        positive = same & (sim.detach() < self.cutoff)
        if self.hard_mining:
            positive, negative = multi_similarity_pairs(sim, positive, negative, 0.1)
            used = positive.any(1) & negative.any(1)
        else:
            used = negative.any(1)
        attract = 2 / self.beta * log_sum_exp(sim, positive, scale=-self.beta)
        repel = 2 / self.alpha * log_sum_exp(sim, negative, scale=self.alpha)
        return (attract + repel).masked_fill(~used, 0)

    def _paper(self, batch: PairBatch) -> Tensor:
        if not batch.itself:
            raise ValueError(
                "LiftedStructureLoss 'paper' does not support ref_emb: a pair needs its partner's negatives too"
            )
        # J mixes the sums of two anchors: first each anchor's own, then the derivative by them, then everything by d.
        squared = gram_squared_distances(batch.embeddings, batch.embeddings)
        own = each_row(squared, self._log_negatives, batch.negative)
        sums = own[:, None]

        def hinge(squared: Tensor, own: Tensor) -> Tensor:
            return (torch.logaddexp(own, sums.T) + root(squared)).clamp_min(0)

        def by_own(squared: Tensor, positive: Tensor, reverse: Tensor, own: Tensor) -> Tensor:
            by_both = 2 * hinge(squared, own) * (own - sums.T).sigmoid()
            return row_sum(by_both, positive) + row_sum(by_both, reverse)

        def terms(squared: Tensor, positive: Tensor, negative: Tensor, own: Tensor, slope: Tensor) -> Tensor:
            # The second part is 0; its derivative is that of `own`, a constant in the first.
            through_own = slope * (self._log_negatives(squared, negative) - own[:, 0])
            return row_sum(hinge(squared, own).square(), positive) + through_own

        slope = each_row(squared, by_own, batch.positive, batch.positive.T, sums)
        total = sum_of_rows(squared, terms, batch.positive, batch.negative, sums, slope, pairs=2**13)
        return total / (2 * batch.positive.count_nonzero().clamp_min(1))

    def _log_negatives(self, squared: Tensor, negative: Tensor) -> Tensor:
        """(B,) log of the sum of e^{margin - d} over an anchor's negatives."""
        repel = log_sum_exp(root(squared), negative, scale=-1, base=self.margin)
        # A side without negatives leaves the sum to the other side; no negatives on either side: the pair adds nothing.
        return repel.masked_fill(~negative.any(1), -1e30)
