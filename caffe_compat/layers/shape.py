"""Layers that move values without computing: Concat, Slice, Reshape, Flatten, Split, Tile, Crop, Silence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from caffe_compat.layers.base import Layer, Shape, canonical_axis
from caffe_compat.layers.checks import Counts


class Concat(Layer):
    counts = Counts(bottoms=(1, None))
    output_is_free = True
    colour = "#d9ead3"

    def setup(self) -> None:
        param = self.message.concat_param
        axis = param.concat_dim if param.HasField("concat_dim") else param.axis
        self.axis = canonical_axis(axis, len(self.bottom_shapes[0]))
        self.per_sample = self.axis != 0

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        first = list(bottom_shapes[0])
        for shape in bottom_shapes[1:]:
            rest = list(shape)
            if len(rest) != len(first) or any(a != b for i, (a, b) in enumerate(zip(first, rest)) if i != self.axis):
                raise ValueError(
                    f"{self}: bottoms {tuple(bottom_shapes[0])} and {tuple(shape)} differ off axis {self.axis}"
                )
        first[self.axis] = sum(shape[self.axis] for shape in bottom_shapes)
        return [tuple(first)]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (torch.cat(bottoms, self.axis),)


class Slice(Layer):
    """Cut along `axis` at `slice_point`s, or into equal parts, one per top."""

    counts = Counts(tops=(1, None))
    colour = "#d9ead3"

    def setup(self) -> None:
        param = self.message.slice_param
        axis = param.slice_dim if param.HasField("slice_dim") else param.axis
        self.axis = canonical_axis(axis, len(self.bottom_shapes[0]))
        self.points = list(param.slice_point)
        if self.points and len(self.points) != len(self.message.top) - 1:
            raise ValueError(f"{self}: {len(self.points)} slice_point for {len(self.message.top)} tops")

    def sizes(self, length: int) -> list[int]:
        count = len(self.message.top)
        if self.points:
            edges = [0, *self.points, length]
            sizes = [b - a for a, b in pairwise(edges)]
            if min(sizes) < 1:
                raise ValueError(f"{self}: slice_point {self.points} do not cut a length of {length} in order")
            return sizes
        if length % count:
            raise ValueError(f"{self}: a length of {length} does not divide into {count} tops")
        return [length // count] * count

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        shape = tuple(bottom_shapes[0])
        return [(*shape[: self.axis], n, *shape[self.axis + 1 :]) for n in self.sizes(shape[self.axis])]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return torch.split(bottoms[0], self.sizes(bottoms[0].shape[self.axis]), self.axis)


class Reshape(Layer):
    """Replace `num_axes` axes from `axis` on by `shape`; dim 0 keeps the bottom's size there, one -1 is inferred."""

    may_be_in_place = False
    drawn_inside = True

    def setup(self) -> None:
        param = self.message.reshape_param
        # CaffeMex's own field; no released file sets it and no recorded layer shows what it does.
        if "default_insert" in param.DESCRIPTOR.fields_by_name and param.HasField("default_insert"):
            raise ValueError(f"{self}: default_insert is not supported; write all of shape out instead")
        self.per_sample = param.axis == 0 and list(param.shape.dim)[:1] == [0]

    def target(self, shape: Shape) -> Shape:
        param = self.message.reshape_param
        # axis -1 inserts after the last axis, hence the extra place.
        start = param.axis if param.axis >= 0 else len(shape) + param.axis + 1
        end = len(shape) if param.num_axes == -1 else start + param.num_axes
        if not 0 <= start <= end <= len(shape):
            raise ValueError(f"{self}: axis {param.axis}, num_axes {param.num_axes} lie outside the bottom {shape}")
        middle = []
        for i, dim in enumerate(param.shape.dim):
            if dim == 0 and start + i >= len(shape):
                raise ValueError(f"{self}: dim {i} is 0 (copy), but the bottom {shape} has no axis {start + i}")
            middle.append(shape[start + i] if dim == 0 else int(dim))
        target = [*shape[:start], *middle, *shape[end:]]
        known = prod(d for d in target if d != -1)
        if target.count(-1) > 1 or (prod(shape) % known if -1 in target and known else known != prod(shape)):
            raise ValueError(f"{self}: cannot give the bottom {shape} the shape {tuple(target)}")
        return tuple(prod(shape) // known if d == -1 else d for d in target)

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [self.target(tuple(bottom_shapes[0]))]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].reshape(self.target(tuple(bottoms[0].shape))),)


class Flatten(Layer):
    """Merge axes `axis` to `end_axis` into one."""

    may_be_in_place = False
    drawn_inside = True

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        param, shape = self.message.flatten_param, tuple(bottom_shapes[0])
        start, end = canonical_axis(param.axis, len(shape)), canonical_axis(param.end_axis, len(shape))
        return [(*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].reshape(self.top_shapes([tuple(bottoms[0].shape)])[0]),)


class Split(Layer):
    """The same blob under several names; the gradients add up."""

    counts = Counts(tops=(1, None))
    may_be_in_place = False

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0],) * len(self.message.top)


class Tile(Layer):
    """`tiles` copies side by side along `axis`."""

    def repeats(self, ndim: int) -> Shape:
        param = self.message.tile_param
        axis = canonical_axis(param.axis, ndim)
        return tuple(param.tiles if i == axis else 1 for i in range(ndim))

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        shape = bottom_shapes[0]
        return [tuple(s * r for s, r in zip(shape, self.repeats(len(shape))))]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0].repeat(self.repeats(bottoms[0].ndim)),)


class Crop(Layer):
    """Bottom 0 cut to the size of bottom 1 from `axis` on, starting at `offset` (one for all axes or one each)."""

    counts = Counts(bottoms=(2, 2))

    def window(self, shape: Shape, like: Shape) -> list[slice]:
        param = self.message.crop_param
        axis = canonical_axis(param.axis, len(shape))
        offsets = list(param.offset) or [0]
        if len(offsets) == 1:
            offsets = offsets * (len(shape) - axis)
        if len(offsets) != len(shape) - axis:
            raise ValueError(f"{self}: {len(offsets)} offset for {len(shape) - axis} cropped axes")
        window = [slice(0, n) for n in shape[:axis]]
        for i, offset in enumerate(offsets, start=axis):
            if offset + like[i] > shape[i]:
                raise ValueError(f"{self}: offset {offset} and size {like[i]} exceed axis {i} of {shape}")
            window.append(slice(offset, offset + like[i]))
        return window

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return [tuple(s.stop - s.start for s in self.window(tuple(bottom_shapes[0]), tuple(bottom_shapes[1])))]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return (bottoms[0][tuple(self.window(tuple(bottoms[0].shape), tuple(bottoms[1].shape)))],)


class Silence(Layer):
    """Takes blobs that nobody else wants, so that they are not outputs."""

    counts = Counts(bottoms=(1, None), tops=(0, 0))

    def top_shapes(self, bottom_shapes: Sequence[Shape]) -> list[Shape]:
        return []

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ()


LAYERS: dict[str, type[Layer]] = {
    "Concat": Concat,
    "Slice": Slice,
    "Reshape": Reshape,
    "Flatten": Flatten,
    "Split": Split,
    "Tile": Tile,
    "Crop": Crop,
    "Silence": Silence,
}
