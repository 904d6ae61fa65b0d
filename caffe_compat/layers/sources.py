"""Layers without bottoms: DummyData and Parameter. (Input and data layers are the net's inputs, see net.py.)"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caffe_compat.layers.base import Layer, Shape
from caffe_compat.layers.checks import Counts
from caffe_compat.layers.fillers import fill


class DummyData(Layer):
    """Blobs of given shapes, filled once if the filler is constant, else at every forward."""

    counts = Counts(bottoms=(0, 0), tops=(1, None))
    _like: Tensor

    def setup(self) -> None:
        # Follows the net's dtype and device.
        self.register_buffer("_like", torch.zeros(()), persistent=False)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        param, count = self.message.dummy_data_param, len(self.message.top)
        if param.shape:
            shapes = [tuple(int(d) for d in s.dim) for s in param.shape]
        else:
            shapes = list(zip(param.num, param.channels, param.height, param.width))
        if len(shapes) not in (1, count):
            raise ValueError(f"{self}: {len(shapes)} shapes for {count} tops")
        return shapes * count if len(shapes) == 1 else shapes

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        fillers = list(self.message.dummy_data_param.data_filler)
        tops = []
        for i, shape in enumerate(self.top_shapes([])):
            top = self._like.new_zeros(shape)
            if fillers:
                fill(top, fillers[i if len(fillers) > 1 else 0], None)
            tops.append(top)
        return tuple(tops)


class Parameter(Layer):
    """A learned blob as a top."""

    counts = Counts(bottoms=(0, 0))
    value: Tensor

    def setup(self) -> None:
        self.add_blob("value", tuple(int(d) for d in self.message.parameter_param.shape.dim))

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [tuple(self.blobs[0].shape)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (self.value,)


LAYERS: dict[str, type[Layer]] = {"DummyData": DummyData, "Parameter": Parameter}
