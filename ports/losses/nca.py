"""Neighbourhood components analysis loss (Goldberger et al., NIPS 2004) and Deep_Metric's version of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import gram_squared_distances, similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import log_sum_exp
from ports.losses._pair_loss import PairLoss, check_variant


class NCALoss(PairLoss):
    """Share of the positives in a softmax over an anchor's neighbours.

    variant:
      "as_released"  Deep_Metric, losses/NCA.py (alpha 16, k 32; train.py passes alpha 30 or 40). It puts the similarity
                     where the formula expects a distance, so its signs are inverted and minimising it pushes positives
                     apart: neighbours are the partners with s below the (k+1)-th SMALLEST similarity, plus the least
                     similar positive when no positive is among them; the anchor adds
                     -log( sum_{P'} e^{-alpha s} / (sum_{P'} e^{-alpha s} + sum_{N'} e^{-alpha s}) ); mean over the batch.
                     Self pairs are removed by value, s < `cutoff` = 1 (see `ContrastiveLoss`). As committed it cannot
                     run at all (`.data[0]`, an undefined name). With k or fewer partners the original stops with an
                     IndexError: here all partners are neighbours; an anchor without positives adds 0.
      "paper"        -1/N sum_i log p_i with p_i = sum_P e^{-alpha d^2} / sum_{j != i} e^{-alpha d^2}, d Euclidean,
                     alpha 1; `objective="expected"` gives 1 - mean p_i (equation 5) in place of the log (equation 6).
                     pytorch-metric-learning computes the log form on normalised rows. Anchors without positives are
                     left out of the mean.
    """

    def __init__(
        self,
        alpha: float | None = None,
        k: int = 32,
        *,
        objective: str = "log",
        cutoff: float = 1.0,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        if objective not in ("log", "expected"):
            raise ValueError(f"objective must be 'log' or 'expected', got {objective!r}")
        check_numbers(self, alpha=alpha, k=k, cutoff=cutoff)
        self.alpha = (16.0 if variant == "as_released" else 1.0) if alpha is None else alpha
        self.k = k
        self.objective = objective
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        if self.variant == "paper":
            return self._paper(batch)
        return sum_of_rows(similarity(batch), self._terms, same, batch.negative) / len(batch.embeddings)

    def _terms(self, sim: Tensor, same: Tensor, negative: Tensor) -> Tensor:
        positive = same & (sim.detach() < self.cutoff)
        return neighbour_terms(sim, positive, negative, self.alpha, self.k)

    def _paper(self, batch: PairBatch) -> Tensor:
        squared = gram_squared_distances(batch.embeddings, batch.partners)
        anchors = batch.positive.any(1).sum().clamp_min(1)
        return sum_of_rows(squared, self._surprise, batch.positive, batch.negative) / anchors

    def _surprise(self, squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        both = log_sum_exp(squared, positive | negative, scale=-self.alpha)
        own = log_sum_exp(squared, positive, scale=-self.alpha)
        surprise = (both - own).masked_fill(~positive.any(1), 0)
        if self.objective == "expected":
            surprise = 1 - (-surprise).exp()
        return surprise


def neighbour_terms(values: Tensor, positive: Tensor, negative: Tensor, alpha: float, k: int) -> Tensor:
    """(B,) surprise of each anchor among its neighbours, the partners below the (k+1)-th smallest of its `values` (B, M).

    -log( sum_{P'} e^{-alpha v} / sum_{P' and N'} e^{-alpha v} ); P' has the positive of the least value when none is a
    neighbour. With k or fewer columns all partners are neighbours. An anchor without positives gives 0.
    """
    constant = values.detach()
    among = positive | negative
    if values.shape[1] > k:
        smallest = constant.masked_fill(~among, math.inf).topk(k + 1, dim=1, largest=False, sorted=False).values
        threshold = smallest.amax(1, keepdim=True)
    else:
        threshold = constant.new_full((values.shape[0], 1), math.inf)
    from_positives = constant.masked_fill(~positive, math.inf)
    # argmin keeps one of several equally small positives, as the original's sort does. If any positive is near, that one
    # is among them.
    least = from_positives.argmin(1, keepdim=True)
    near = constant < threshold
    near_positive = positive & (near | (torch.arange(values.shape[1], device=values.device) == least))
    both = log_sum_exp(values, near_positive | (negative & near), scale=-alpha)
    own = log_sum_exp(values, near_positive, scale=-alpha)
    return (both - own).masked_fill(from_positives.amin(1) == math.inf, 0)
