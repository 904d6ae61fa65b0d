"""Caffe's triplet loss on given triplets, as released with OSM + CAA."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ports.float32 import f32
from ports.losses._inputs import autocast_off, check_numbers, nan_where_not_finite
from ports.losses.contrastive_caffe import abnormal, check_rows


class CaffeTripletLoss(nn.Module):
    """(1/2N) * sum of max(0, |a - p|^2 - |a - n|^2 + margin) over N triplets; the gradient is the true one.

    forward(anchors (N, D), positives (N, D), negatives (N, D), scores=()). `scores`: the three confidences of the
    six-bottom form, (1,) each: when one is <= 0.05 the whole batch is dropped (loss and gradient 0). N = 0 gives 0.

    Source: triplet_loss_layer.cpp of the OSM + CAA release.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        check_numbers(self, margin=margin)
        self.margin = margin

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Tensor, scores: tuple[Tensor, ...] = ()) -> Tensor:
        with autocast_off(anchors):
            a, p, n = check_rows(anchors=anchors, positives=positives, negatives=negatives)
            gap = (a - p).square().sum(1) - (a - n).square().sum(1)
            loss = (gap + f32(self.margin)).clamp(min=0).sum() / (2 * max(a.shape[0], 1))
            loss = torch.where(abnormal(*scores), 0.0, loss) if scores else loss
            return nan_where_not_finite(self, loss, anchors=a, positives=p, negatives=n)
