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

    #: a pair's weight is that of both its ends.
    symmetric = True

    def pair_weights(
        self, squared: Tensor, distance: Tensor, hinge: Tensor, positive: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, M) weights >= 0 of positives and of negatives, 0 elsewhere, before attention and normalisation; fresh tensors.

        A block of B anchors against M partners. squared: squared distances; hinge: max(0, margin - d); all float64.
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
            each_once = pairs.itself and indices_tuple is None and self.symmetric
            with torch.no_grad():
                value, coefficients = self._blocks(pairs, row, column, each_once, attention is not None)
            value = forced(pairs.embeddings, None if pairs.itself else pairs.partners, value, coefficients)
            return nan_where_not_finite(
                self, value, **pairs.rows(), attention=row, **({} if pairs.itself else {"ref_attention": column})
            )

    def _blocks(
        self, pairs: PairBatch, row: Tensor, column: Tensor, each_once: bool, attended: bool
    ) -> tuple[Tensor, Tensor]:
        """Value and (N, M) coefficients of x_i - y_j in the gradients of both, a block of anchors at a time.

        No float64 matrix over all pairs exists, and no autograd inside: the weights are constants and the rest is known.
        each_once: the batch with itself, of which both halves are equal. attended: not all attentions are 1.
        """
        x, paper = pairs.embeddings, self.variant == "paper"
        distances = SquaredDistances(x, None if pairs.itself else pairs.partners)
        rows, columns = pairs.positive.shape
        coefficients = x.new_empty(rows, columns)  # of negatives below 0, or equal to it
        # Of positives and of negatives: summed weights, and terms of the value (weighted in the paper's).
        sums, terms = (x.new_zeros(2, dtype=torch.float64) for _ in range(2))
        for start, stop, squared in distances.upper_blocks() if each_once else distances.blocks():
            left = start if each_once else 0
            positive, negative = pairs.positive[start:stop, left:], pairs.negative[start:stop, left:]
            distance = squared.sqrt()
            hinge = (f32(self.margin) - distance).clamp_(min=0)
            weights = self.pair_weights(squared, distance, hinge, positive, negative)
            if attended or not pairs.itself:
                least = torch.minimum(row[start:stop, None], column[left:])
                for weight in weights:
                    weight.mul_(least)
            # The pairs from here on stand in the block once, not twice.
            beyond = slice(stop - start, None) if each_once else slice(0, 0)
            sums += _twice(weights, beyond)
            if paper:  # whose margin is not a float32
                hinge = (self.margin - distance).clamp_(min=0)
                terms += _twice((squared * weights[0], hinge.square().mul_(weights[1])), beyond)
            else:
                terms += _twice((squared * positive, hinge.square().mul_(negative)), beyond)
            force = hinge.div_(distance if paper else distance.add_(_FORCE_EPSILON)).mul_(weights[1])
            # Equal rows have no direction: without this, rounding noise of theirs, times 1e4, would enter.
            force = (
                torch.where(squared == 0, 0.0, weights[0] - force)
                if paper
                else (weights[0] - force).mul_(squared.sign())
            )
            coefficients[start:stop, left:] = force
            if each_once:
                coefficients[stop:, start:stop] = coefficients[start:stop, stop:].T
            del squared, distance, hinge, weights, force  # before the next product is made

        count = (pairs.positive.count_nonzero() + pairs.negative.count_nonzero()).clamp(min=1).double()
        # Within one batch each pair stands at (i, j) and (j, i): sums here are twice those over unordered pairs.
        twice = 2 if pairs.itself and not self.ordered else 1
        epsilon = twice * _WEIGHT_EPSILON
        # The weights are divided by their sum over the batch.
        scales = 0.5 / (sums + epsilon) if self.halves else 1 / (sums.sum() + epsilon).expand(2)
        value = 0.5 * (terms * scales).sum() if paper else terms.sum() / (2 * count)
        if not paper:
            scales = scales * twice / count
        if each_once:  # both ends of a pair are pushed, by the same
            scales = 2 * scales
        scales = scales.to(x.dtype)
        for start, stop in row_blocks(rows, columns, x.device):
            part = coefficients[start:stop]
            of_positives = part.clamp(min=0)
            part.sub_(of_positives).mul_(scales[1]).addcmul_(of_positives, scales[0])
        return value, coefficients + coefficients.T if pairs.itself and not each_once else coefficients


def _twice(values: tuple[Tensor, Tensor], beyond: slice) -> Tensor:
    """(2,) sums of each of the two; columns `beyond` count twice."""
    return torch.stack([each.sum() + each[:, beyond].sum() for each in values])
