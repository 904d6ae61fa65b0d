"""What the released pair losses of OSM + CAA share: a contrastive force on every pair, times a normalised pair weight."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ports.losses._inputs import PairBatch, autocast_off, f32, pair_batch
from ports.losses._pairwise import SquaredDistances, add_forces, released, row_blocks

_WEIGHT_EPSILON = 1e-12  # start value of the released sums of weights
_FORCE_EPSILON = 1e-4  # ContrastiveLoss divides the force between negatives by d + 1e-4


class _Block(NamedTuple):
    """(B, M) pairs of B anchors: float64 distances and weights (attention in, normalisation not), bool masks."""

    squared: Tensor
    distance: Tensor
    weight: Tensor
    positive: Tensor
    negative: Tensor


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
        """(B, M) weights >= 0 before attention and normalisation; what it gives elsewhere than at a pair is ignored.

        A block of B anchors against all M partners. squared: squared distances; hinge: max(0, margin - d); all float64.
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
            x, y = pairs.embeddings, pairs.partners
            with torch.no_grad():
                value, gradient, partner_gradient = self._blocks(pairs, row, column)
            if pairs.itself:
                return released(x, value, gradient)
            return released(y, released(x, value, gradient), partner_gradient)

    def _blocks(self, pairs: PairBatch, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, gradients of anchors and of partners (one tensor where these are the anchors).

        A block of anchors at a time, so that no float64 matrix over all pairs exists; twice, because the weights are
        divided by their sum over the batch. No autograd inside: the weights are constants and the rest is known.
        """
        x, y = pairs.embeddings, pairs.partners
        squared = SquaredDistances(x, None if pairs.itself else y)
        rows, columns = pairs.positive.shape
        zero = x.new_zeros((), dtype=torch.float64)
        sum_p, sum_n, value = zero, zero, zero
        blocks = list(row_blocks(rows, columns, x.device))
        for start, stop in blocks:
            block = self._block(pairs, squared, row, column, start, stop)
            sum_p = sum_p + torch.where(block.positive, block.weight, 0.0).sum()
            sum_n = sum_n + torch.where(block.negative, block.weight, 0.0).sum()
            # The released value has no weights.
            hinge = (f32(self.margin) - block.distance).clamp_(min=0)
            terms = torch.where(block.positive, block.squared, hinge.square_())
            value = value + terms.mul_(block.positive | block.negative).sum()

        count = (pairs.positive.count_nonzero() + pairs.negative.count_nonzero()).clamp(min=1).double()
        # Within one batch each pair stands at (i, j) and (j, i): sums here are twice those over unordered pairs.
        twice = 2 if pairs.itself and not self.ordered else 1
        epsilon = twice * _WEIGHT_EPSILON
        if self.halves:
            scale_p, scale_n = 0.5 / (sum_p + epsilon), 0.5 / (sum_n + epsilon)
        else:
            scale_p = scale_n = 1 / (sum_p + sum_n + epsilon)

        paper = self.variant == "paper"
        margin = self.margin if paper else f32(self.margin)
        weighted = zero
        # float64 only where blocks add up in it.
        gradient = torch.zeros_like(x, dtype=torch.float64)
        partner_gradient = gradient if pairs.itself else torch.zeros_like(y, dtype=torch.float64)
        for start, stop in blocks:
            block = self._block(pairs, squared, row, column, start, stop)
            weight = block.weight.mul_(torch.where(block.positive, scale_p, scale_n * block.negative))
            hinge = (margin - block.distance).clamp_(min=0)
            if paper:
                weighted = weighted + weight.mul(torch.where(block.positive, block.squared, hinge.square())).sum()
            force = -hinge / (block.distance if paper else block.distance + _FORCE_EPSILON)
            coefficient = torch.where(block.positive, 1.0, force).mul_(weight)
            # Equal rows have no direction: without this, rounding noise of theirs, times 1e4, would enter.
            coefficient = torch.where(block.distance > 0, coefficient, 0.0)
            if not paper:
                coefficient = coefficient.mul_(twice / count)
            add_forces(gradient[start:stop], coefficient, squared.x[start:stop], squared.y)
            add_forces(partner_gradient, coefficient.T, squared.y, squared.x[start:stop])
        return 0.5 * weighted if paper else value / (2 * count), gradient, partner_gradient

    def _block(
        self, pairs: PairBatch, distances: SquaredDistances, row: Tensor, column: Tensor, start: int, stop: int
    ) -> _Block:
        positive, negative = pairs.positive[start:stop], pairs.negative[start:stop]
        squared = distances.rows(start, stop)
        distance = squared.sqrt()
        hinge = (f32(self.margin) - distance).clamp_(min=0)
        lesser = torch.minimum(row[start:stop, None], column[None, :])
        weight = lesser.mul_(self.pair_weights(squared, hinge, positive, negative))
        return _Block(squared, distance, weight, positive, negative)
