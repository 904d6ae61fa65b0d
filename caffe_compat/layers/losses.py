"""Stock losses: Euclidean, hinge, sigmoid cross-entropy, multinomial logistic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer, LossLayer, enum_name
from caffe_compat.layers.checks import check_class_labels
from caffe_compat.layers.softmax import loss_normalization, normalizer


def _one_hot(layer: Layer, scores: Tensor, labels: Tensor) -> Tensor:
    """(N, K) mask of each row's label; scores (N, K)."""
    if labels.numel() != scores.shape[0]:
        raise ValueError(f"{layer}: {labels.numel()} labels for {scores.shape[0]} samples")
    check_class_labels(layer, labels.long(), scores.shape[1])
    return labels.long().reshape(-1, 1) == torch.arange(scores.shape[1], device=scores.device)


class EuclideanLoss(LossLayer):
    """Sum of squared differences over 2N."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        a, b = bottoms
        if a.shape[0] != b.shape[0] or a.numel() != b.numel():
            raise ValueError(f"{self}: bottoms {tuple(a.shape)} and {tuple(b.shape)} must have equal counts")
        return ((a.reshape(-1) - b.reshape(-1)).square().sum() / (2 * a.shape[0]),)


class HingeLoss(LossLayer):
    """One-vs-all hinge: max(0, 1 - x) at the label, max(0, 1 + x) elsewhere; summed, or squared for L2, over N."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        scores = bottoms[0].flatten(1)
        is_label = _one_hot(self, scores, bottoms[1])
        hinge = F.relu(1 + torch.where(is_label, -scores, scores))
        if enum_name(self.message.hinge_loss_param, "norm") == "L2":
            hinge = hinge.square()
        return (hinge.sum() / scores.shape[0],)


class SigmoidCrossEntropyLoss(LossLayer):
    """Cross-entropy of sigmoid(x) with targets in [0, 1], summed over everything but the batch and divided by N.

    `loss_param.normalization` other than the default BATCH_SIZE and `ignore_label` work as in current bvlc.
    """

    def setup(self) -> None:
        param = self.message.loss_param
        self.mode = loss_normalization(self, "BATCH_SIZE")
        self.ignore = param.ignore_label if param.HasField("ignore_label") else None

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        x, target = bottoms[0].reshape(-1), bottoms[1].reshape(-1)
        if x.numel() != target.numel():
            raise ValueError(f"{self}: bottoms {tuple(bottoms[0].shape)} and {tuple(bottoms[1].shape)} differ in count")
        loss = torch.logaddexp(x, torch.zeros_like(x)) - x * target
        valid = None if self.ignore is None else target.long() != self.ignore
        if valid is not None:
            loss = torch.where(valid, loss, 0.0)
        batch = bottoms[0].shape[0]
        return (loss.sum() / normalizer(self, self.mode, batch, x.numel() // max(batch, 1), valid),)


class MultinomialLogisticLoss(LossLayer):
    """-mean log p of the label, from probabilities (N, C); clamped at 1e-20 in value and gradient."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        prob = bottoms[0].flatten(1)
        picked = torch.where(_one_hot(self, prob, bottoms[1]), prob, 0.0).sum(1)
        # Caffe's gradient is -1 / max(p, 1e-20) also below the clamp.
        picked = picked.clamp(min=1e-20).detach() + (picked - picked.detach())
        return (-picked.log().sum() / prob.shape[0],)


LAYERS: dict[str, type[Layer]] = {
    "EuclideanLoss": EuclideanLoss,
    "HingeLoss": HingeLoss,
    "SigmoidCrossEntropyLoss": SigmoidCrossEntropyLoss,
    "MultinomialLogisticLoss": MultinomialLogisticLoss,
}
