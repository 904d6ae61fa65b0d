"""UnifiedWeightLoss: the weighted softmax loss that lies in the TPAMI release of RLL."""

from __future__ import annotations

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
from ports.losses._released import released

_BASE = 2.718281828


class UnifiedWeightLoss(nn.Module):
    """Mean of -log p, weighted by 2.718281828^(scale * p^lamda_p * (1 - p)), p the probability of the label.

    Value: -sum(w log p) / (sum w + 1e-8). Gradient, not its derivative: every sample pushes its logits with total absolute
    force w / (sum w + 1e-8), however wrong it is: (softmax - onehot) / (2 - 2p + 1e-6) of it.
    p has float32's smallest normal number as floor in the logarithm, as Caffe's softmax losses have it; no record shows what the
    release does with a smaller one.

    forward(logits (N, C), labels (N,) with values 0..C-1). Samples with `ignore_label` count for nothing; nothing left gives 0.
    Any other label outside 0..C-1 is a ValueError.
    Source: unified_weight_loss_layer.cpp of the TPAMI release (which wants a third bottom and never reads it).
    """

    def __init__(self, lamda_p: float = 1.0, scale: float = 1.0, *, ignore_label: int | None = None) -> None:
        super().__init__()
        check_numbers(self, lamda_p=lamda_p, scale=scale)
        self.lamda_p, self.scale, self.ignore_label = lamda_p, scale, ignore_label

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        with autocast_off(logits):
            logits = check_embeddings(logits, name="logits")
            labels = check_labels(labels, logits, of="logits")
            check_classes(labels, logits.shape[1], self.ignore_label)
            with torch.no_grad():
                value, gradient = self._released(logits.double(), labels)
            return nan_where_not_finite(self, released(logits, value, gradient), logits=logits)

    def _released(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        target = labels[:, None] == torch.arange(logits.shape[1], device=logits.device)
        probability = torch.softmax(logits, 1)
        p = torch.where(target, probability, 0.0).sum(1)
        weight = _BASE ** (f32(self.scale) * p ** f32(self.lamda_p) * (1 - p))
        if self.ignore_label is not None:
            weight = torch.where(labels == self.ignore_label, 0.0, weight)
        total = weight.sum() + 1e-8
        value = -(weight * p.clamp(min=torch.finfo(torch.float32).tiny).log()).sum() / total
        unit = (probability - target.double()) / (2 - 2 * p + 1e-6)[:, None]
        return value, unit * (weight / total)[:, None]
