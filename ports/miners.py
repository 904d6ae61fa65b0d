"""Which pairs and triplets of a batch take part: the miners of the ported papers as functions on dense masks.

All take an (N, M) matrix with the (N, M) bool masks of its positive and negative pairs, and none passes a gradient.
`to_indices` turns masks into the index tuple that pytorch-metric-learning's losses (and ours) accept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ports.losses._blocks import row_blocks
from ports.losses._gram import gram_squared_distances
from ports.losses._inputs import autocast_off, check_embeddings, check_labels
from ports.losses._masked import row_max, row_min


def multi_similarity_pairs(
    sim: Tensor, positive: Tensor, negative: Tensor, epsilon: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Masks of the pairs that violate their anchor's hardest pair of the other kind by less than `epsilon`.

    A negative stays if s + epsilon > the anchor's smallest positive, a positive if s - epsilon < its largest negative;
    both are taken from the unmined sets. An anchor without positives or without negatives keeps nothing.
    Source: Wang et al., Multi-Similarity Loss (CVPR 2019), equations 13-14.
    """
    sim = sim.detach()
    kept_negative = negative & (sim + epsilon > row_min(sim, positive))
    kept_positive = positive & (sim - epsilon < row_max(sim, negative))
    return kept_positive, kept_negative


def hard_pairs(sim: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.1) -> tuple[Tensor, Tensor]:
    """The same sets with the margin on the other side of the comparison, as Deep_Metric's HardMining writes them.

    s > min positive - margin, s < max negative + margin: equal to `multi_similarity_pairs` but for rounding.
    """
    sim = sim.detach()
    kept_negative = negative & (sim > row_min(sim, positive) - margin)
    kept_positive = positive & (sim < row_max(sim, negative) + margin)
    return kept_positive, kept_negative


def semi_hard_pairs(sim: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Deep_Metric's SemiHard sets: negatives below the most similar positive, positives above the least similar negative.

    The name is the repository's: FaceNet's semi-hard rule is another (see `SemiHardLoss`, variant "paper").
    """
    sim = sim.detach()
    return positive & (sim > row_min(sim, negative)), negative & (sim < row_max(sim, positive))


def distance_weights(embeddings: Tensor, labels: Tensor, cutoff: float = 0.5) -> Tensor:
    """(N, N) probability that an anchor (row) draws a negative (column), inverse to the density of distances.

    On the unit sphere in D dimensions, q(d) is proportional to d^(D-2) (1 - d^2/4)^((D-3)/2); a negative is drawn with a
    probability proportional to 1/q at max(d, cutoff). As released, positives enter the row's maximum with log weight 0
    (that only scales a row, unless it underflows). Rows of a batch without negatives are zero. The original fails at
    d > 2 (rows that are not normalised); here 1 - d^2/4 is kept at or above 1e-8.
    Source: Wu et al., Sampling Matters (ICCV 2017), section 4; research-ms-loss, losses/margin_loss.py.
    """
    x = check_embeddings(embeddings).detach()
    labels = check_labels(labels, x)
    return _weights(x, x, labels[:, None] == labels, cutoff)


def _weights(x: Tensor, y: Tensor, same: Tensor, cutoff: float) -> Tensor:
    """(B, N) probabilities of the partners `y` (N, D) of some anchors `x` (B, D); `same` (B, N) marks equal labels."""
    dimension = x.shape[1]
    with autocast_off(x):
        d = gram_squared_distances(x, y).clamp_(min=1e-4).sqrt_().clamp_(min=cutoff)
    log_weight = (2.0 - dimension) * d.log() - (dimension - 3) / 2 * (1 - d.square_() / 4).clamp_(min=1e-8).log_()
    log_weight = log_weight.masked_fill_(same, 0)
    weight = log_weight.sub_(log_weight.amax(1, keepdim=True)).exp_().masked_fill_(same, 0)
    total = weight.sum(1, keepdim=True)
    return weight.div_(total.masked_fill(total == 0, 1))


def _draw(weight: Tensor, uniform: Tensor) -> Tensor:
    """(N,) column per row by inversion of the row's distribution; `uniform` (N,) in [0, 1)."""
    # In units of 2^-40: sums of integers are exact, and on CUDA the only ones that are deterministic.
    cumulative = (weight.double() * 2.0**40).long().cumsum(1)
    total = cumulative[:, -1:]
    target = torch.minimum((uniform[:, None].double() * total).long(), total - 1)
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def distance_weighted_triplets(
    embeddings: Tensor, labels: Tensor, *, cutoff: float = 0.5, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One triplet per anchor: (anchors, positives, negatives, valid), each (N,), the last bool.

    The positive is drawn uniformly from the other samples of the class, the negative by `distance_weights`. Anchors
    without a positive or without a negative are marked in `valid` (the original stops there); their indices mean nothing.
    """
    x = check_embeddings(embeddings).detach()
    labels = check_labels(labels, x)
    anchors = torch.arange(len(x), device=x.device)
    uniform = torch.rand((2, len(x)), generator=generator, device=x.device, dtype=x.dtype)
    positives, negatives, valid = torch.empty_like(anchors), torch.empty_like(anchors), anchors < 0
    for i, j in row_blocks(len(x), len(x), x.device):
        same = labels[i:j, None] == labels
        weight, positive = _weights(x[i:j], x, same, cutoff), same & (anchors[i:j, None] != anchors)
        positives[i:j] = _draw(positive.to(x), uniform[0, i:j])
        negatives[i:j] = _draw(weight, uniform[1, i:j])
        valid[i:j] = positive.any(1) & (weight > 0).any(1)
    return anchors, positives, negatives, valid


def to_indices(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(anchors, positives, anchors, negatives) of two (N, M) masks: the index tuple of the peer's miners."""
    anchor_positive, positives = positive.nonzero(as_tuple=True)
    anchor_negative, negatives = negative.nonzero(as_tuple=True)
    return anchor_positive, positives, anchor_negative, negatives
