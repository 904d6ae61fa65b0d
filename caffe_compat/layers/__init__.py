"""Caffe's layers in torch: `LAYERS` maps a layer type to its class."""

from __future__ import annotations

from caffe_compat.layers import class_attention, pair_losses
from caffe_compat.layers.base import Layer, LossLayer

LAYERS: dict[str, type[Layer]] = {
    **class_attention.LAYERS,
    **pair_losses.LAYERS,
}

__all__ = ["LAYERS", "Layer", "LossLayer"]
