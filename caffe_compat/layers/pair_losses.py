"""Layer type -> class; filled by the losses of this family."""

from __future__ import annotations

from caffe_compat.layers.base import Layer

LAYERS: dict[str, type[Layer]] = {}
