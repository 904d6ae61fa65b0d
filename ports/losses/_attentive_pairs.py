"""What the released pair losses of OSM + CAA share: a contrastive force on every pair, times a normalised pair weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ports.losses._inputs import PairBatch, autocast_off, f32, pair_batch
from ports.losses._pairwise import distances, forces, released, squared_distances

_WEIGHT_EPSILON = 1e-12  # start value of the released sums of weights
_FORCE_EPSILON = 1e-4  # ContrastiveLoss divides the force between negatives by d + 1e-4


def check_attention(attention: Tensor | None, embeddings: Tensor, *, name: str = "attention") -> Tensor:
    """(N,) float64 constants, one per row of `embeddings`; None: ones. Raises ValueError for any other shape."""
    if attention is None:
        return embeddings.new_ones(embeddings.shape[0], dtype=torch.float64)
    if attention.shape != embeddings.shape[:1]:
        raise ValueError(
            f"{name} must have shape (N,), one per sample: got {tuple(attention.shape)} "
            f"for embeddings {tuple(embeddings.shape)}"
        )
    return attention.detach().to(embeddings.device, torch.float64)


class AttentivePairLoss(nn.Module):
    """Base class. A subclass gives `pair_weights`; the weights only enter the gradient, never the released value.

    Released value: (1/2P) * sum over all P pairs of d^2 (positives) or max(0, margin - d)^2 (negatives).
    Released gradient: every pair pushes both of its ends with its weight times 1/P times (x_i - x_j) for positives,
    -(margin - d)/(d + 1e-4) * (x_i - x_j) for negatives nearer than the margin. The weights are constants that add up to 1
    over the batch (`halves`: to 1/2 over the positives and 1/2 over the negatives), so that the 1/P comes on top.

    `attention` (N,): one score per sample (class-aware attention); a pair has the lesser of its two. Default ones.
    `ref_emb` (M, D), `ref_labels`, `ref_attention`: partners in the batch's place; every (anchor, partner) is one pair and
    both ends get their gradient.
    """

    #: pairs are counted as ordered ones: P = N(N-1), not N(N-1)/2.
    ordered = False
    #: positives and negatives are normalised apart, to 1/2 each.
    halves = False

    def __init__(self, margin: float = 1.2) -> None:
        super().__init__()
        self.margin = margin
        self.variant = "as_released"

    def pair_weights(self, squared: Tensor, hinge: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """(N, M) weights >= 0 before attention and normalisation; what it gives elsewhere than at a pair is ignored.

        squared: squared distances; hinge: max(0, margin - d); all float64.
        """
        raise NotImplementedError

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        attention: Tensor | None = None,
        ref_attention: Tensor | None = None,
    ) -> Tensor:
        with autocast_off(embeddings):
            pairs = pair_batch(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
            row = check_attention(attention, pairs.embeddings)
            if pairs.itself:
                column = row
            else:
                column = check_attention(ref_attention, pairs.partners, name="ref_attention")
            with torch.no_grad():
                lesser = torch.minimum(row[:, None], column[None, :])
                weight, value, coefficient = self._weigh(pairs, lesser)
            if self.variant == "paper":
                return self._paper(pairs, weight)
            return self._weighted(pairs, value, coefficient)

    def _weigh(self, pairs: PairBatch, lesser: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised weights, released value, released coefficient of (x_i - x_j) for one end of each pair."""
        positive, negative = pairs.positive, pairs.negative
        squared = squared_distances(pairs.embeddings, None if pairs.itself else pairs.partners)
        distance = squared.sqrt()
        margin = f32(self.margin)
        hinge = (margin - distance).clamp_(min=0)
        count = (positive.count_nonzero() + negative.count_nonzero()).clamp(min=1).double()
        terms = torch.where(positive, squared, torch.where(negative, hinge.square(), 0.0))
        value = terms.sum() / (2 * count)

        # Within one batch each pair stands at (i, j) and (j, i): sums here are twice those over unordered pairs.
        twice = 2 if pairs.itself and not self.ordered else 1
        epsilon = twice * _WEIGHT_EPSILON
        raw = self.pair_weights(squared, hinge, positive, negative) * lesser
        weight_p, weight_n = torch.where(positive, raw, 0.0), torch.where(negative, raw, 0.0)
        if self.halves:
            weight = 0.5 * weight_p / (weight_p.sum() + epsilon) + 0.5 * weight_n / (weight_n.sum() + epsilon)
        else:
            weight = (weight_p + weight_n) / ((weight_p + weight_n).sum() + epsilon)
        force = torch.where(positive, 1.0, torch.where(negative, -hinge / (distance + _FORCE_EPSILON), 0.0))
        # Equal rows have no direction: without this, rounding noise of theirs, times 1e4, would enter.
        coefficient = torch.where(distance > 0, weight * force, 0.0) * (twice / count)
        return weight, value, coefficient

    def _weighted(self, pairs: PairBatch, value: Tensor, coefficient: Tensor) -> Tensor:
        x, y = pairs.embeddings, pairs.partners
        if pairs.itself:
            return released(x, value, forces(coefficient + coefficient.T, x))
        return released(y, released(x, value, forces(coefficient, x, y)), forces(coefficient.T, y, x))

    def _paper(self, pairs: PairBatch, weight: Tensor) -> Tensor:
        """Weighted mean of the contrastive terms, its exact gradient, weights constant."""
        distance = distances(pairs.embeddings, None if pairs.itself else pairs.partners)
        hinge = (self.margin - distance).clamp(min=0)
        terms = torch.where(pairs.positive, distance.square(), torch.where(pairs.negative, hinge.square(), 0.0))
        return 0.5 * (weight.to(terms.dtype) * terms).sum()
