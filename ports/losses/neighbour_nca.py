"""Deep_Metric's NCA loss as its 2018 copies have it: over an anchor's nearest neighbours."""

from __future__ import annotations

from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import gram_squared_distances
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._pair_loss import PairLoss, check_variant
from ports.losses.nca import neighbour_terms


class NeighbourNCALoss(PairLoss):
    """-1/N sum_i log( sum_{P'} e^{-alpha d} / (sum_{P'} e^{-alpha d} + sum_{N'} e^{-alpha d}) ), d = |x_i - x_j|^2.

    P' and N': the partners nearer than the (k+1)-th nearest one, plus the nearest positive when no positive is among them.
    Only "as_released" exists: losses/NCA.py of August 2018 (alpha 16, k 32). The original multiplies both sums by
    e^{alpha mean d}, a constant that cancels. With k or fewer partners all of them are neighbours (the original stops
    with an error); an anchor without positives adds 0. HEAD's file of the same name puts the similarity where the
    distance stood and so has its signs inverted (`NCALoss`).

    No recording exists: that file was read, and was not run.
    """

    def __init__(self, alpha: float = 16.0, k: int = 32, *, variant: str = "as_released") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released",))
        check_numbers(self, alpha=alpha, k=k)
        self.alpha = alpha
        self.k = k

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        squared = gram_squared_distances(batch.embeddings, batch.partners)
        return sum_of_rows(squared, self._terms, batch.positive, batch.negative) / len(batch.embeddings)

    def _terms(self, squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return neighbour_terms(squared, positive, negative, self.alpha, self.k)
