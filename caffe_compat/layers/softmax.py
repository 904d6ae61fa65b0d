"""Softmax and SoftmaxWithLoss (softmax_loss_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer, LossLayer, Shape, canonical_axis, enum_name
from caffe_compat.layers.checks import Counts, check_class_labels
from ports.float32 import f32

# log of FLT_MIN: Caffe clamps probabilities there, in double layers too.
LOG_FLT_MIN = log(torch.finfo(torch.float32).tiny)


class Softmax(Layer):
    per_sample = True

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (F.softmax(bottoms[0], canonical_axis(self.message.softmax_param.axis, bottoms[0].ndim)),)


def loss_normalization(layer: Layer, default: str) -> str:
    """Name of the NormalizationMode that loss_param asks for; the old `normalize` flag counts only without it."""
    param = layer.message.loss_param
    if not param.HasField("normalization") and param.HasField("normalize"):
        return "VALID" if param.normalize else "BATCH_SIZE"
    return enum_name(param, "normalization") if param.HasField("normalization") else default


def normalizer(layer: Layer, mode: str, outer: int, inner: int, valid: Tensor | None) -> float | Tensor:
    """What the summed loss is divided by, at least 1. `valid`: mask of the labels that are not ignored."""
    if mode == "VALID" and valid is not None:
        return valid.sum().clamp(min=1)
    if mode == "PRE_FIXED":
        return f32(layer.message.loss_param.pre_fixed_normalizer)
    return float({"FULL": outer * inner, "VALID": outer * inner, "BATCH_SIZE": outer, "NONE": 1}[mode] or 1)


def check_label_count(layer: Layer, bottom_shapes: Sequence[Shape], axis: int) -> None:
    """Raise ValueError unless bottom 1 has one label per position of bottom 0 off `axis`."""
    scores, labels = tuple(bottom_shapes[0]), tuple(bottom_shapes[1])
    if prod(labels) != prod(scores[:axis]) * prod(scores[axis + 1 :]):
        raise ValueError(
            f"{layer}: {prod(labels)} labels {labels} for scores {scores}; "
            f"one label per position off axis {axis} is needed"
        )


class SoftmaxWithLoss(LossLayer):
    """Mean cross-entropy of logits (N, C, ...) with labels (N, ...); a second top is the softmax.

    The reported loss clamps probabilities at FLT_MIN; the gradient, softmax minus one-hot, does not. Divided by the
    number of labels that are not `ignore_label` (VALID), of all labels (FULL), of samples (BATCH_SIZE), or not (NONE).
    """

    counts = Counts(bottoms=(2, 2), tops=(1, 2))

    def setup(self) -> None:
        param = self.message.loss_param
        self.mode = loss_normalization(self, "VALID")
        self.ignore = param.ignore_label if param.HasField("ignore_label") else None
        self.axis = canonical_axis(self.message.softmax_param.axis, len(self.bottom_shapes[0]))

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        check_label_count(self, bottom_shapes, self.axis)
        return [(), tuple(bottom_shapes[0])][: max(1, len(self.message.top))]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        logits, axis = bottoms[0], self.axis
        check_label_count(self, [tuple(b.shape) for b in bottoms], axis)
        labels = bottoms[1].long().reshape(*logits.shape[:axis], 1, *logits.shape[axis + 1 :])
        check_class_labels(self, labels, logits.shape[axis], self.ignore)
        classes = torch.arange(logits.shape[axis], device=logits.device)
        classes = classes.reshape(-1, *(1,) * (logits.ndim - axis - 1))
        is_label = labels == classes
        valid = None if self.ignore is None else labels != self.ignore
        if valid is not None:
            is_label = is_label & valid
        log_prob = torch.where(is_label, F.log_softmax(logits, axis), 0.0).sum(axis, keepdim=True)
        log_prob = log_prob.clamp(min=LOG_FLT_MIN).detach() + (log_prob - log_prob.detach())
        outer = 1
        for n in logits.shape[:axis]:
            outer *= n
        divisor = normalizer(self, self.mode, outer, labels.numel() // max(outer, 1), valid)
        loss = -log_prob.sum() / divisor
        if len(self.message.top) < 2:
            return (loss,)
        # Caffe's Backward never looks at this top's gradient.
        return loss, F.softmax(logits.detach(), axis)


LAYERS: dict[str, type[Layer]] = {"Softmax": Softmax, "SoftmaxWithLoss": SoftmaxWithLoss}
