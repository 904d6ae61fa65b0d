"""What a backward pass needs, kept in a file instead of memory.

A whole step in float64 holds twice what the training does, for a comparison of seconds at a run's end. rll-sop, 18 images: 2.5 GB at most, 1.8 with this,
for a fifth more time and a temporary file of 2.5 GB.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedRandom

import torch
from torch import Tensor

_LEAST = 1 << 20  # bytes; smaller ones are not worth the way


@dataclass(frozen=True)
class _Place:
    offset: int
    like: Tensor  # without memory: size, strides and type


@contextlib.contextmanager
def to_disk(layers: torch.nn.Module) -> Iterator[None]:
    """Inside, what autograd saves of each forward goes to a temporary file and comes back as it was, to the bit and stride.

    The parameters of `layers` stay where they are: they take no memory of their own. So does what has gaps in its memory, and all that
    comes after the disk is full.
    """
    weights = {parameter.data_ptr() for parameter in layers.parameters()}
    with tempfile.TemporaryFile(prefix="dml-ports-") as file:

        def pack(tensor: Tensor) -> Tensor | _Place:
            if tensor.numel() * tensor.element_size() < _LEAST or tensor.data_ptr() in weights or tensor.is_cuda:
                return tensor
            order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
            plain = tensor.detach().permute(order)
            if not plain.is_contiguous():
                return tensor
            try:
                return _Place(_append(file, plain), torch.empty_like(tensor, device="meta"))
            except OSError:
                return tensor

        def unpack(packed: Tensor | _Place) -> Tensor:
            if isinstance(packed, Tensor):
                return packed
            tensor = torch.empty_like(packed.like, device="cpu")
            order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
            file.seek(packed.offset)
            file.readinto(tensor.permute(order).numpy().data.cast("B"))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield


def _append(file: BufferedRandom, tensor: Tensor) -> int:
    offset = file.seek(0, 2)
    file.write(tensor.numpy().data.cast("B"))
    file.flush()
    return offset
