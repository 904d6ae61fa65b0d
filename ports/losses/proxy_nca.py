"""Proxy-NCA loss (Movshovitz-Attias et al., No Fuss Distance Metric Learning using Proxies, ICCV 2017)."""

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


class ProxyNCALoss(nn.Module):
    """Mean over samples of -log( e^{-d(x, p_y)} / sum_z e^{-d(x, p_z)} ); `weight` (num_classes, embedding_dim).

    d = `scale` times the squared Euclidean distance of the normalised sample and the normalised proxy.

    variant:
      "paper"    equation 4: the sum runs over the proxies of the OTHER classes, so the loss can be negative.
      "library"  the sum runs over all proxies, as pytorch-metric-learning has it (its softmax_scale is `scale`).
    With a single class the paper's sum is empty: the loss is then 0.
    """

    def __init__(self, num_classes: int, embedding_dim: int, scale: float = 1.0, *, variant: str = "paper") -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("paper", "library"))
        check_numbers(self, scale=scale)
        self.num_classes = num_classes
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(num_classes, embedding_dim) / math.sqrt(embedding_dim))

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
        if self.variant == "paper" and self.num_classes == 1:
            return x.sum() * 0
        if len(x) == 0:
            return x.sum()
        with autocast_off(x):
            # d = scale (2 - 2 cos) for unit vectors; the constant is in numerator and denominator alike.
            logits = normalize(x) @ normalize(self.weight.to(x.dtype)).T * (2 * self.scale)
            if self.variant == "library":
                return nan_where_not_finite(self, cross_entropy(logits, labels), embeddings=x)
            own = labels[:, None] == torch.arange(self.num_classes, device=x.device)
            others = logits.masked_fill(own, -math.inf).logsumexp(1)
            value = (others - logits.masked_fill(~own, 0).sum(1)).mean()
            return nan_where_not_finite(self, value, embeddings=x)
