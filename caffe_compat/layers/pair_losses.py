"""Caffe's pair and triplet losses, with those that the papers released: adapters of `ports.losses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caffe_compat.layers.base import Layer, LossLayer, Shape
from caffe_compat.layers.checks import Counts
from ports.losses import (
    CaffeContrastiveLoss,
    CaffeContrastiveLossV2,
    CaffeTripletLoss,
    HardestPairLoss,
    OnlineSoftMiningLoss,
    RankedListLoss,
    UnifiedWeightLoss,
    ValidPairLoss,
)


def rows(blob: Tensor) -> Tensor:
    """A blob (N, C, H, W) as (N, C*H*W)."""
    return blob.flatten(1)


def vector(blob: Tensor) -> Tensor:
    """A blob of one number per sample, (N,) or (N, 1, 1, 1), as (N,)."""
    return blob.reshape(-1)


def _release(dialect: str) -> str:
    return "tpami" if dialect == "rll_tpami" else "cvpr19"


def _threshold(param: Any) -> float:
    """Field 1 of ContrastiveLossParameterV2: `margin` at CVPR'19, renamed `negative_threshold` in the TPAMI release."""
    return param.negative_threshold if hasattr(param, "negative_threshold") else param.margin


class _ReportsLastBackward(torch.autograd.Function):
    """The TPAMI layer computes its loss in Backward: the top of Forward still shows the one before."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, layer: RankedList) -> Tensor:
        ctx.layer = layer
        ctx.computed = loss.detach()
        return layer.reported.to(loss).clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        ctx.layer.reported = ctx.computed
        return upstream, None


class RankedList(LossLayer):
    """DistanceWeightedValidPairLossV12 of either RLL release. Bottoms: embeddings (N, D), labels.

    In `rll_tpami` the top is stale by one backward pass, 0 at first: that layer's Forward does nothing. After the backward
    pass its loss is in `reported`. `loss` holds the hyper-parameters that the TPAMI solver anneals (`negative_threshold`,
    `pn_margin`, `T_p`, `T_n`); they are read at every pass.
    """

    dialects = ("rll_cvpr19", "rll_tpami")
    reported: Tensor

    def setup(self) -> None:
        param, release = self.message.contrastive_loss_param_v2, _release(self.dialect)
        positive, negative = self.message.softmax_t_p_param, self.message.softmax_t_n_param
        boundary: dict[str, Any] = (
            {"negative_threshold": _threshold(param)} if release == "tpami" else {"margin": _threshold(param)}
        )
        self.loss = RankedListLoss(
            pn_margin=param.pn_margin,
            T_p=positive.scale,
            T_n=negative.scale,
            base=positive.base,
            base_n=negative.base,
            legacy_version=param.legacy_version,
            release=release,
            **boundary,
        )
        self.register_buffer("reported", torch.zeros(()), persistent=False)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor]:
        loss = self.loss(rows(embeddings), vector(labels))
        if self.loss.release == "tpami":
            return (_ReportsLastBackward.apply(loss, self),)
        self.reported = loss.detach()
        return (loss,)


class _AttentivePairs(LossLayer):
    """Bottoms: embeddings (N, D), labels, scores (one per sample; a pair has the lesser of its two)."""

    dialects = ("osm_aaai19",)
    counts = Counts(bottoms=(3, 3))
    loss: nn.Module

    def forward(self, embeddings: Tensor, labels: Tensor, scores: Tensor) -> tuple[Tensor]:
        return (self.loss(rows(embeddings), vector(labels), attention=vector(scores)),)


class OnlineSoftMining(_AttentivePairs):
    """DistanceWeightedValidPairLossV5, the loss of OSM + CAA."""

    def setup(self) -> None:
        param = self.message.gaussian_param
        self.loss = OnlineSoftMiningLoss(self.message.contrastive_loss_param.margin, param.sigma, param.mean)


class ValidPair(_AttentivePairs):
    """DistanceWeightedValidPairLoss, its V2, V3, V4, WeightedValidPairLoss and WeightedPairLoss."""

    KINDS = {
        "DistanceWeightedValidPairLoss": "V",
        "DistanceWeightedValidPairLossV2": "V2",
        "DistanceWeightedValidPairLossV3": "V3",
        "DistanceWeightedValidPairLossV4": "V4",
        "WeightedValidPairLoss": "weighted_valid_pair",
        "WeightedPairLoss": "weighted_pair",
    }

    def setup(self) -> None:
        self.loss = ValidPairLoss(self.KINDS[self.layer_type], self.message.contrastive_loss_param.margin)


class HardestPair(_AttentivePairs):
    """WeightedContrastiveLoss and OHPMWeightedPairLoss."""

    def setup(self) -> None:
        self.loss = HardestPairLoss(self.message.contrastive_loss_param.margin)


class Contrastive(LossLayer):
    """ContrastiveLoss. Bottoms: rows (N, D), rows (N, D), similarity; in `osm_aaai19` also two scores (1,)."""

    @classmethod
    def counts_in(cls, dialect: str, message: Any) -> Counts:
        return Counts(bottoms=(3, 5 if dialect == "osm_aaai19" else 3))

    def setup(self) -> None:
        param = self.message.contrastive_loss_param
        self.loss = CaffeContrastiveLoss(param.margin, legacy_version=param.legacy_version)

    def forward(self, a: Tensor, b: Tensor, similar: Tensor, *scores: Tensor) -> tuple[Tensor]:
        return (self.loss(rows(a), rows(b), vector(similar), scores),)


class ContrastiveV2(LossLayer):
    """ContrastiveLossV2 of either RLL release. Bottoms: rows (N, D), rows (N, D), similarity.

    The releases' header allows two scores more; no file of theirs gives them and no record shows what they would do.
    """

    dialects = ("rll_cvpr19", "rll_tpami")
    counts = Counts(bottoms=(3, 3))

    def setup(self) -> None:
        param = self.message.contrastive_loss_param_v2
        self.loss = CaffeContrastiveLossV2(
            _threshold(param), param.pn_margin, legacy_version=param.legacy_version, release=_release(self.dialect)
        )

    def forward(self, a: Tensor, b: Tensor, similar: Tensor) -> tuple[Tensor]:
        return (self.loss(rows(a), rows(b), vector(similar)),)


class Triplet(LossLayer):
    """TripletLoss. Bottoms: anchors, positives, negatives, all (N, D); optionally three scores (1,)."""

    dialects = ("osm_aaai19",)
    counts = Counts(bottoms=(3, 6))

    def setup(self) -> None:
        self.loss = CaffeTripletLoss(self.message.triplet_loss_param.margin)

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Tensor, *scores: Tensor) -> tuple[Tensor]:
        return (self.loss(rows(anchors), rows(positives), rows(negatives), scores),)


class UnifiedWeight(LossLayer):
    """UnifiedWeightLoss. Bottoms: logits (N, C), labels, and a third that the layer wants but never reads.

    A second top holds the softmax.
    """

    dialects = ("rll_tpami",)
    counts = Counts(bottoms=(3, 3), tops=(1, 2))

    def setup(self) -> None:
        param = self.message.loss_param
        ignore_label = param.ignore_label if param.HasField("ignore_label") else None
        self.loss = UnifiedWeightLoss(param.lamda_p, param.scale, ignore_label=ignore_label)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [(), tuple(bottom_shapes[0])][: max(1, len(self.message.top))]

    def forward(self, logits: Tensor, labels: Tensor, *unread: Tensor) -> tuple[Tensor, ...]:
        loss = self.loss(rows(logits), vector(labels))
        return (loss,) if len(self.message.top) < 2 else (loss, F.softmax(logits.detach(), 1))


LAYERS: dict[str, type[Layer]] = {
    "DistanceWeightedValidPairLossV12": RankedList,
    "DistanceWeightedValidPairLossV5": OnlineSoftMining,
    **dict.fromkeys(ValidPair.KINDS, ValidPair),
    "WeightedContrastiveLoss": HardestPair,
    "OHPMWeightedPairLoss": HardestPair,
    "ContrastiveLoss": Contrastive,
    "ContrastiveLossV2": ContrastiveV2,
    "TripletLoss": Triplet,
    "UnifiedWeightLoss": UnifiedWeight,
}
