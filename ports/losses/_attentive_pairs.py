"""What the released pair losses of OSM + CAA share: a contrastive force on every pair, times a normalised pair weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ports.float32 import f32
from ports.losses._blocks import row_blocks
from ports.losses._exact_distances import SquaredDistances, forced
from ports.losses._inputs import PairBatch, autocast_off, check_numbers, nan_where_not_finite, pair_batch

_WEIGHT_EPSILON = 1e-12  # start value of the released sums of weights
_FORCE_EPSILON = 1e-4  # ContrastiveLoss divides the force between negatives by d + 1e-4


def check_attention(attention: Tensor | None, embeddings: Tensor, *, name: str = "attention") -> Tensor:
    """(N,) float64 constants, one per row of `embeddings`; None: ones. Raises ValueError for any other shape."""
    if attention is None:
        return embeddings.new_ones(embeddings.shape[0], dtype=torch.float64)
    if not isinstance(attention, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape (N,), got {type(attention).__name__}")
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
        check_numbers(self, margin=margin)
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
            with torch.no_grad():
                value, coefficients = self._blocks(pairs, row, column)
            value = forced(pairs.embeddings, None if pairs.itself else pairs.partners, value, coefficients)
            return nan_where_not_finite(
                self, value, **pairs.rows(), attention=row, **({} if pairs.itself else {"ref_attention": column})
            )

    def _blocks(self, pairs: PairBatch, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Value and (N, M) coefficients of x_i - y_j in the gradients of both, a block of anchors at a time.

        No float64 matrix over all pairs exists, and no autograd inside: the weights are constants and the rest is known.
        """
        x, paper = pairs.embeddings, self.variant == "paper"
        distances = SquaredDistances(x, None if pairs.itself else pairs.partners)
        rows, columns = pairs.positive.shape
        margin = self.margin if paper else f32(self.margin)
        coefficients = x.new_empty(rows, columns)
        # Of positives and of negatives: summed weights, and terms of the value (weighted in the paper's).
        sums, terms = (x.new_zeros(2, dtype=torch.float64) for _ in range(2))
        for start, stop, squared in distances.blocks():
            positive, negative = pairs.positive[start:stop], pairs.negative[start:stop]
            distance = squared.sqrt()
            hinge = (f32(self.margin) - distance).clamp_(min=0)
            weight = self.pair_weights(squared, hinge, positive, negative)
            weight = weight.mul_(torch.minimum(row[start:stop, None], column)).mul_(positive | negative)
            sums += _by_kind(weight, positive)
            hinge = (margin - distance).clamp_(min=0)
            each = torch.where(positive, squared, hinge.square())
            terms += _by_kind(each.mul_(weight) if paper else each.mul_(positive | negative), positive)
            force = hinge.neg_().div_(distance if paper else distance + _FORCE_EPSILON)
            # Equal rows have no direction: without this, rounding noise of theirs, times 1e4, would enter.
            coefficients[start:stop] = torch.where(positive, 1.0, force).mul_(weight).masked_fill_(distance == 0, 0)

        count = (pairs.positive.count_nonzero() + pairs.negative.count_nonzero()).clamp(min=1).double()
        # Within one batch each pair stands at (i, j) and (j, i): sums here are twice those over unordered pairs.
        twice = 2 if pairs.itself and not self.ordered else 1
        epsilon = twice * _WEIGHT_EPSILON
        # The weights are divided by their sum over the batch.
        scales = 0.5 / (sums + epsilon) if self.halves else 1 / (sums.sum() + epsilon).expand(2)
        value = 0.5 * (terms * scales).sum() if paper else terms.sum() / (2 * count)
        if not paper:
            scales = scales * twice / count
        for start, stop in row_blocks(rows, columns, x.device):
            coefficients[start:stop].mul_(torch.where(pairs.positive[start:stop], scales[0], scales[1]))
        # Both ends of a pair are pushed.
        return value, coefficients + coefficients.T if pairs.itself else coefficients


def _by_kind(values: Tensor, positive: Tensor) -> Tensor:
    """(2,) sums of positive and of other pairs."""
    of_positives = (values * positive).sum()
    return torch.stack([of_positives, (values * ~positive).sum()])
