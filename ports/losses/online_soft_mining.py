"""Online soft mining with class-aware attention (Wang et al., AAAI 2019): the weighted contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ports.float32 import f32
from ports.losses._attentive_pairs import AttentivePairLoss
from ports.losses._inputs import check_numbers


class OnlineSoftMiningLoss(AttentivePairLoss):
    """Contrastive loss whose pairs are weighted by online soft mining, times class-aware attention.

    Weight of a positive: Gaussian density of its distance (near positives count most); of a negative: max(0, margin - d);
    each times the lesser `attention` of its two samples, normalised to 1/2 over the positives and 1/2 over the negatives.

    Args:
        margin: alpha, beyond which negatives are trivial.
        sigma, mean: of the Gaussian. 0.8 and 0 for CUB and CARS196; sigma is 1.0 for MARS, 0.6 for LPW.
        variant: `as_released`: the layer reports the *unweighted* contrastive loss, and its gradient is the weighted
            one divided once more by the number of pairs P = N(N-1)/2 (1540 for the published batch of 56), because it
            multiplies the gradient of a contrastive layer that had divided already. Beside three softmax losses
            little is left of it.
            `paper`: sum of weight * d^2/2 over positives plus weight * max(0, margin - d)^2/2 over negatives, weights
            constant, no 1/P and no 1e-4 in the force: gradients are P times larger.

    Shape: embeddings (N, D), L2-normalised by the recipe; labels (N,); attention (N,), usually
    `ClassAwareAttention(...)(logits, labels).attention`. Without positives (negatives) their half is missing; no pairs: 0.

    Source: distance_weighted_valid_pair_loss_V5_layer.cpp, contrastive_loss_layer.cpp; paper section "Online Soft Mining".
    """

    halves = True

    def __init__(
        self, margin: float = 1.2, sigma: float = 0.8, mean: float = 0.0, *, variant: str = "as_released"
    ) -> None:
        super().__init__(margin)
        if variant not in ("as_released", "paper"):
            raise ValueError(f"variant must be 'as_released' or 'paper', got {variant!r}")
        check_numbers(self, sigma=sigma, mean=mean)
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma, self.mean, self.variant = sigma, mean, variant

    def pair_weights(
        self, squared: Tensor, distance: Tensor, hinge: Tensor, positive: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        sigma, mean = f32(self.sigma), f32(self.mean)
        density = (distance - mean).div_(sigma).square_().mul_(-0.5).exp_().div_((2 * torch.pi * sigma**2) ** 0.5)
        return density.mul_(positive), hinge * negative
