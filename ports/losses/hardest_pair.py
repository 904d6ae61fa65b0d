"""Contrastive loss on each sample's hardest positive and hardest negative, weighted by attention."""

from __future__ import annotations

import torch
from torch import Tensor

from ports.losses._attentive_pairs import AttentivePairLoss

_LARGEST_SQUARE = 4.0  # squared distance of opposite unit vectors: the released search for a minimum starts there


class HardestPairLoss(AttentivePairLoss):
    """Weight 1 for the pair of each sample with its farthest positive and with its nearest negative, 0 for all others.

    Two released layers, WeightedContrastiveLoss and OHPMWeightedPairLoss, hold the same code. Pairs are ordered, so a pair
    that is the hardest of both its samples counts twice. The searches are strict: a positive needs d^2 > 0, a negative d^2 < 4
    (unnormalised embeddings may have none); the first one of equals is taken, so equal distances make the gradient depend on
    the order of the batch.

    Value, gradient, shapes: see AttentivePairLoss, with P = N(N-1) ordered pairs.
    Source: weighted_contrastive_loss_layer.cpp, ohpm_weighted_pair_loss_layer.cpp of the OSM + CAA release.
    """

    ordered = True

    symmetric = False

    def pair_weights(
        self, squared: Tensor, distance: Tensor, hinge: Tensor, positive: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        if squared.shape[1] == 0:
            return torch.zeros_like(squared), torch.zeros_like(squared)
        columns = torch.arange(squared.shape[1], device=squared.device)
        candidate_p = positive & (squared > 0)
        candidate_n = negative & (squared < _LARGEST_SQUARE)
        hardest_p = torch.where(candidate_p, squared, -torch.inf).argmax(1, keepdim=True)
        hardest_n = torch.where(candidate_n, squared, torch.inf).argmin(1, keepdim=True)
        return (candidate_p & (columns == hardest_p)).double(), (candidate_n & (columns == hardest_n)).double()
