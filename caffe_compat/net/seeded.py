"""Weights and inputs from a recipe instead of a file: the ones that the recorded forwards and trajectories used.

Blob b of layer L comes from `RandomState(crc32("L:b"))`, so any program can make the same net without a download.
"""

from __future__ import annotations

import zlib
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from caffe_compat.net.caffe_net import CaffeNet


def seeded_blob(layer: str, layer_type: str, blob: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """float32 values of blob `blob` of a layer; types Convolution, InnerProduct, Scale, BatchNorm."""
    rng = np.random.RandomState(zlib.crc32(f"{layer}:{blob}".encode()))
    if layer_type in ("Convolution", "InnerProduct"):
        scale = sqrt(2 / prod(shape[1:])) if blob == 0 else 0.1
        return (rng.randn(*shape) * scale).astype(np.float32)
    if layer_type == "Scale":
        noise = 0.1 * rng.randn(*shape)
        return (1 + noise if blob == 0 else noise).astype(np.float32)
    if layer_type == "BatchNorm":
        if blob == 2:
            return np.ones(shape, np.float32)
        noise = 0.1 * rng.randn(*shape)
        return (noise if blob == 0 else 1 + np.abs(noise)).astype(np.float32)
    raise ValueError(f'layer "{layer}": no recipe for blobs of type {layer_type}')


def seed_weights(net: CaffeNet, *, statistics: bool = True) -> None:
    """Fill all blobs of `net` by the recipe; `statistics=False` sets BatchNorm's blobs to 0, as a fresh net has them.

    A parameter shared by several layers gets the values of its owner, the first of them.
    """
    with torch.no_grad():
        for spec in net.plan.learnable:
            layer: Any = net.plan.layers[spec.layer]
            blob = layer.blobs[spec.blob]
            if layer.layer_type == "BatchNorm" and not statistics:
                blob.zero_()
                continue
            values = seeded_blob(layer.layer_name, layer.layer_type, spec.blob, tuple(blob.shape))
            blob.copy_(torch.from_numpy(values))


def seeded_images(shape: tuple[int, ...], seed: int = 7) -> torch.Tensor:
    """float32 "images": 40 * standard normal; the recorded forwards use seed 7, iteration i of training 99 + i."""
    rng = np.random.RandomState(seed)
    return torch.from_numpy((rng.randn(*shape) * 40).astype(np.float32))
