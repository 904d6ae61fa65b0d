"""Caffe's layers in torch: `LAYERS` maps a layer type to its class.

Each module of this folder that has a `LAYERS` adds its types: a new family of layers is one new file.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from caffe_compat.layers.base import Layer, LossLayer

LAYERS: dict[str, type[Layer]] = {}
for _module in pkgutil.iter_modules(__path__):
    LAYERS |= getattr(import_module(f"{__name__}.{_module.name}"), "LAYERS", {})

__all__ = ["LAYERS", "Layer", "LossLayer"]
