"""Deep_Metric's hard-mining losses: losses/HardMining.py and losses/triplet.py."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import row_mean
from ports.losses._mixing import released_rows
from ports.losses._pair_loss import PairLoss, check_variant
from ports.miners import hard_pairs


def _terms(sim: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    positive, negative = hard_pairs(sim, positive, negative, margin)
    each = row_mean(1 - sim, positive) + row_mean(sim, negative)
    return each.masked_fill(~negative.any(1), 0)


class HardMiningLoss(PairLoss):
    """1/N sum_i [ mean_{P'} (1 - s) + mean_{N'} s ] over the pairs within 0.1 of the hardest of the other kind.

    Only "as_released" exists: Deep_Metric, losses/HardMining.py, which ignores the margin it is given and uses 0.1 always.
    Self pairs are removed by value, s < `cutoff` = 1 (see `ContrastiveLoss`); here that changes nothing but the mined
    sets of duplicates. An anchor without mined negatives is skipped; the original stops with an IndexError at an anchor
    that has no positives or no negatives at all, which here adds 0.
    """

    def __init__(self, *, cutoff: float = 1.0, variant: str = "as_released") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released",))
        check_numbers(self, cutoff=cutoff)
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        def terms(sim: Tensor, same: Tensor, negative: Tensor) -> Tensor:
            return _terms(sim, same & (sim.detach() < self.cutoff), negative, 0.1)

        return sum_of_rows(similarity(batch), terms, same, batch.negative) / len(batch.embeddings)


class TripletHardMiningLoss(PairLoss):
    """The loss of Deep_Metric's losses/triplet.py: `HardMiningLoss` with a margin that works and exclusion by index.

    Only "as_released" exists (margin 0). It reshapes the pairs as `ports.losses._mixing` describes, so batches of unequal
    class sizes are wrong for some sizes; where the original stops with an error, each anchor keeps its own pairs here.
    """

    def __init__(self, margin: float = 0.0, *, variant: str = "as_released") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released",))
        check_numbers(self, margin=margin)
        self.margin = margin

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        sim, positive, negative = similarity(batch), batch.positive, batch.negative
        if batch.itself:
            sim, positive, negative = released_rows(sim, positive, negative)
        terms = partial(_terms, margin=self.margin)
        return sum_of_rows(sim, terms, positive, negative) / len(batch.embeddings)
