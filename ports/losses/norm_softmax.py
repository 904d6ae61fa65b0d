"""Normalised softmax loss (Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, BMVC 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ports.losses._classes import check_classes
from ports.losses._inputs import (
    autocast_off,
    check_embeddings,
    check_labels,
    check_numbers,
    nan_where_not_finite,
    refuse,
)
from ports.losses._pair_loss import check_variant


class NormSoftmaxLoss(nn.Module):
    """Cross entropy over cosines with one learnable proxy per class; `weight` (num_classes, embedding_dim).

    logits = x . w / (max(|w|, 1e-12) temperature), mean cross entropy, temperature 0.05, weight drawn from
    U(-1/sqrt(embedding_dim), 1/sqrt(embedding_dim)).

    variant:
      "as_released"  classification_metric_learning, modules/losses.py: x is NOT normalised here, because the network's
                     last layer does it; rows of another norm change the temperature.
      "paper"        x is normalised too, as the formula is printed; the same on unit rows.
                     pytorch-metric-learning's NormalizedSoftmaxLoss computes this.
    A zero proxy row gets the released gradient (the direction divided by 1e-12). Labels outside 0..num_classes - 1 raise
    ValueError before anything is computed.
    """

    def __init__(
        self, num_classes: int, embedding_dim: int, temperature: float = 0.05, *, variant: str = "as_released"
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        check_numbers(self, temperature=temperature)
        self.num_classes = num_classes
        self.temperature = temperature
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_dim))
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the proxies again."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss of embeddings (N, embedding_dim) with class indices (N,)."""
        refuse(self, indices_tuple=indices_tuple, ref_emb=ref_emb, ref_labels=ref_labels)
        x = check_embeddings(embeddings)
        labels = check_classes(check_labels(labels, x), self.num_classes)
        if len(x) == 0:
            return x.sum()
        with autocast_off(x):
            proxies = normalize(self.weight.to(x.dtype))
            if self.variant == "paper":
                x = normalize(x)
            value = cross_entropy(x @ proxies.T / self.temperature, labels)
            return nan_where_not_finite(self, value, embeddings=x)
