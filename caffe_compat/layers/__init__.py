"""Caffe's layers in torch: `LAYERS` maps a layer type to its class."""

from __future__ import annotations

from caffe_compat.layers import (
    accuracy,
    activations,
    arithmetic,
    batch_norm,
    class_attention,
    convolution,
    inner_product,
    losses,
    normalization,
    pair_losses,
    pooling,
    scale,
    shape,
    softmax,
    sources,
)
from caffe_compat.layers.base import Layer, LossLayer

LAYERS: dict[str, type[Layer]] = {
    **accuracy.LAYERS,
    **activations.LAYERS,
    **arithmetic.LAYERS,
    **batch_norm.LAYERS,
    **class_attention.LAYERS,
    **convolution.LAYERS,
    **inner_product.LAYERS,
    **losses.LAYERS,
    **normalization.LAYERS,
    **pair_losses.LAYERS,
    **pooling.LAYERS,
    **scale.LAYERS,
    **shape.LAYERS,
    **softmax.LAYERS,
    **sources.LAYERS,
}

__all__ = ["LAYERS", "Layer", "LossLayer"]
