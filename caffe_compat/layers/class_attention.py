"""The class-aware attention layers of the OSM + CAA release: ExtractProb, Gaussian, WeightedSoftmaxWithLoss."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from caffe_compat.layers.base import Layer, LossLayer, Shape
from caffe_compat.layers.checks import Counts
from caffe_compat.layers.pair_losses import rows, vector
from ports.float32 import f32
from ports.losses.class_aware_attention import WeightedSoftmaxLoss, gaussian, probability_of_label


class ExtractProb(Layer):
    """Probability of each sample's label. Bottoms: probabilities (N, C, ...), labels. No gradient.

    Tops: (N, 1, ...); optionally the largest of them, (1, 1, 1, 1).
    """

    dialects = ("osm_aaai19",)
    counts = Counts(bottoms=(2, 2), tops=(1, 2))

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        n, _, *rest = bottom_shapes[0]
        return [(n, 1, *rest), (1, 1, 1, 1)][: max(1, len(self.message.top))]

    def forward(self, probabilities: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        chosen = probability_of_label(probabilities, vector(labels))[:, None]
        return (chosen,) if len(self.message.top) < 2 else (chosen, chosen.amax().view(1, 1, 1, 1))


class Gaussian(Layer):
    """Density of a normal distribution, elementwise. No gradient."""

    dialects = ("osm_aaai19",)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        param = self.message.gaussian_param
        return (gaussian(x, f32(param.sigma), f32(param.mean)),)


class WeightedSoftmaxWithLoss(LossLayer):
    """Sum of weight * cross entropy. Bottoms: logits (N, C), labels, weights. The weights get no gradient.

    A second top holds the softmax.
    """

    dialects = ("osm_aaai19",)
    counts = Counts(bottoms=(3, 3), tops=(1, 2))

    def setup(self) -> None:
        param = self.message.loss_param
        self.loss = WeightedSoftmaxLoss(ignore_label=param.ignore_label if param.HasField("ignore_label") else None)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [(), tuple(bottom_shapes[0])][: max(1, len(self.message.top))]

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        loss = self.loss(rows(logits), vector(labels), vector(weights))
        return (loss,) if len(self.message.top) < 2 else (loss, F.softmax(logits.detach(), 1))


LAYERS: dict[str, type[Layer]] = {
    "ExtractProb": ExtractProb,
    "Gaussian": Gaussian,
    "WeightedSoftmaxWithLoss": WeightedSoftmaxWithLoss,
}
