"""Accuracy (accuracy_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caffe_compat.layers.base import Layer, Shape, canonical_axis
from caffe_compat.layers.checks import Counts, check_class_labels


class Accuracy(Layer):
    """Share of labels among the `top_k` largest scores; a second top (C,) holds it per class. No gradient.

    Ties differ: the forks sort (score, class) pairs downwards, so that of equal scores the higher class comes first;
    bvlc counts every equal score as better than the label's.
    """

    counts = Counts(bottoms=(2, 2), tops=(1, 2))
    colour = "#f4cccc"

    def setup(self) -> None:
        param = self.message.accuracy_param
        self.axis = canonical_axis(param.axis, len(self.bottom_shapes[0]))
        self.top_k = param.top_k
        self.ignore = param.ignore_label if param.HasField("ignore_label") else None

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [(), (bottom_shapes[0][self.axis],)][: max(1, len(self.message.top))]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        scores = bottoms[0].detach().movedim(self.axis, -1)
        scores = scores.reshape(-1, scores.shape[-1])
        labels = bottoms[1].long().reshape(-1, 1)
        if labels.numel() != scores.shape[0]:
            raise ValueError(f"{self}: {labels.numel()} labels for {scores.shape[0]} rows of scores")
        check_class_labels(self, labels, scores.shape[1], self.ignore)
        classes = torch.arange(scores.shape[1], device=scores.device)
        is_label = labels == classes
        mine = torch.where(is_label, scores, 0.0).sum(1, keepdim=True)
        tied = (scores == mine) & ((classes > labels) if self.dialect != "bvlc" else ~is_label)
        hit = (((scores > mine) | tied).sum(1) < self.top_k) & is_label.any(1)
        valid = torch.ones_like(hit) if self.ignore is None else labels[:, 0] != self.ignore
        hit = hit & valid
        accuracy = hit.sum().to(scores.dtype) / valid.sum()
        if len(self.message.top) < 2:
            return (accuracy,)
        member = is_label & valid[:, None]
        per_class = (member & hit[:, None]).sum(0).to(scores.dtype) / member.sum(0).clamp(min=1)
        return accuracy, per_class


LAYERS: dict[str, type[Layer]] = {"Accuracy": Accuracy}
