"""Class-aware attention (Wang et al., AAAI 2019): what a classifier's confidence says about a sample's weight."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ports.float32 import f32
from ports.losses._inputs import (
    autocast_off,
    check_classes,
    check_embeddings,
    check_labels,
    check_numbers,
    nan_where_not_finite,
)
from ports.losses._once import once

_FLOOR = float(torch.finfo(torch.float32).tiny)  # FLT_MIN, Caffe's floor of a probability in float and in double


def probability_of_label(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(N, ...) entries of `probabilities` (N, C, ...) at the class of each sample, `labels` (N,) with values 0..C-1.

    A label outside 0..C-1 is a ValueError (the release reads past the end of the row). No gradient, as in the release.
    Source: extract_prob_layer.cpp.
    """
    check_classes(labels, probabilities.shape[1])
    classes = torch.arange(probabilities.shape[1], device=probabilities.device)
    chosen = (labels[:, None] == classes).view(labels.shape[0], -1, *[1] * (probabilities.dim() - 2))
    return torch.where(chosen, probabilities.detach(), 0.0).sum(1)


def gaussian(x: Tensor, sigma: float = 0.18, mean: float = 0.5) -> Tensor:
    """Density of the normal distribution at `x`, elementwise. No gradient. Source: gaussian_layer.cpp."""
    sigma, mean = f32(sigma), f32(mean)
    return torch.exp(-0.5 * ((x.detach() - mean) / sigma).square()) / (2 * torch.pi * sigma**2) ** 0.5


class _WeightedSoftmax(torch.autograd.Function):
    """The loss has a floor of p, its gradient has none: a saturated sample is still pulled with full weight."""

    @staticmethod
    def forward(ctx, logits: Tensor, weight: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        probability = torch.softmax(logits, 1)
        ctx.save_for_backward(probability, weight, target, logits)
        p = torch.where(target, probability, 0.0).sum(1).clamp(min=_FLOOR)
        return -(weight * p.log()).sum()

    @staticmethod
    @once
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        probability, weight, target, _ = ctx.saved_tensors
        return upstream * (probability - target.to(probability.dtype)) * weight[:, None], None, None


class WeightedSoftmaxLoss(nn.Module):
    """Sum of weight * -log softmax(logits)[label]; no division by N (class-aware weights add up to 1 by themselves).

    forward(logits (N, C), labels (N,) with values 0..C-1, weights (N,)). Weights are constants. A probability below float32's
    smallest normal number counts as that number in the value (at most 87.3 per sample), not in the gradient.
    Samples with `ignore_label` count for nothing; any other label outside 0..C-1 is a ValueError.

    Source: weighted_softmax_loss_layer.cpp of the OSM + CAA release (which ignores the `normalization` field).
    """

    def __init__(self, *, ignore_label: int | None = None) -> None:
        super().__init__()
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        with autocast_off(logits):
            logits = check_embeddings(logits, name="logits")
            labels = check_labels(labels, logits, of="logits")
            check_classes(labels, logits.shape[1], self.ignore_label)
            if not isinstance(weights, Tensor) or weights.shape != labels.shape:
                got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
                raise ValueError(f"weights must be a torch.Tensor of shape (N,) = {tuple(labels.shape)}, got {got}")
            weights = weights.detach().to(logits)
            if self.ignore_label is not None:
                weights = torch.where(labels == self.ignore_label, 0.0, weights)
            target = labels[:, None] == torch.arange(logits.shape[1], device=logits.device)
            value = _WeightedSoftmax.apply(logits, weights, target)
            return nan_where_not_finite(self, value, logits=logits, weights=weights)


class Attention(NamedTuple):
    """loss: () weighted softmax loss. attention: (N,) for `OnlineSoftMiningLoss`. weights: (N,), of the loss."""

    loss: Tensor
    attention: Tensor
    weights: Tensor


class ClassAwareAttention(nn.Module):
    """From a classifier's logits: its own weighted softmax loss, and the attention of each sample for a pair loss.

    p_i = softmax probability of the sample's label. The classification loss weights samples by a Gaussian of p_i around 0.5
    (`sigma`, `mean`), divided by its sum over the batch + 1e-12: easy and hopeless samples count least. The attention is
    another Gaussian of p_i around 1 (`attention_sigma`, `attention_mean`), between 0.2 and 0.59: samples of trusted labels
    count most. Both are constants for the gradient.

    `variant`: `as_released`, or `paper`: the attention is p_i itself.

    forward(logits (N, C), labels (N,)) -> Attention(loss, attention, weights).
    Source: the layers Softmax, ExtractProb, Gaussian, Normalization (L1), WeightedSoftmaxWithLoss in CUB_V01's train.prototxt.
    """

    def __init__(
        self,
        sigma: float = 0.18,
        mean: float = 0.5,
        attention_sigma: float = 0.68,
        attention_mean: float = 1.0,
        *,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        if variant not in ("as_released", "paper"):
            raise ValueError(f"variant must be 'as_released' or 'paper', got {variant!r}")
        check_numbers(self, sigma=sigma, mean=mean, attention_sigma=attention_sigma, attention_mean=attention_mean)
        self.sigma, self.mean = sigma, mean
        self.attention_sigma, self.attention_mean = attention_sigma, attention_mean
        self.variant = variant
        self.softmax_loss = WeightedSoftmaxLoss()

    def forward(self, logits: Tensor, labels: Tensor) -> Attention:
        with autocast_off(logits):
            logits = check_embeddings(logits, name="logits")
            labels = check_labels(labels, logits, of="logits")
            with torch.no_grad():
                p = probability_of_label(torch.softmax(logits.double(), 1), labels)
                density = gaussian(p, self.sigma, self.mean)
                weights = density / (density.sum() + 1e-12)
                attention = p if self.variant == "paper" else gaussian(p, self.attention_sigma, self.attention_mean)
            return Attention(
                self.softmax_loss(logits, labels, weights), attention.to(logits.dtype), weights.to(logits.dtype)
            )
