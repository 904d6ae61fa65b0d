"""Weights into a net by layer name, with Caffe's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caffe_compat.errors import CaffeFormatError
from caffe_compat.layers import Layer


@dataclass(frozen=True)
class LoadReport:
    """What `load_caffemodel` did, by layer name."""

    loaded: list[str]
    only_in_file: list[str]
    only_in_net: list[str]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} layers loaded"]
        if self.only_in_net:
            parts.append(f"in the net only (keep their values): {', '.join(self.only_in_net)}")
        if self.only_in_file:
            parts.append(f"in the file only (ignored): {', '.join(self.only_in_file)}")
        return "; ".join(parts)


def _fits(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Equal shapes; a legacy 4-axis shape also fits when the target, led by ones, is the same."""
    if source == target:
        return True
    return len(source) == 4 and len(target) < 4 and source == (1,) * (4 - len(target)) + target


def copy_weights(
    layers: Sequence[Layer], weights: Mapping[str, Sequence[np.ndarray]], *, file: str | Path | None = None
) -> LoadReport:
    """Copy `weights` (layer name -> blobs) into `layers`; checks everything before it changes anything.

    Raises:
        CaffeFormatError: another number of blobs, or a blob of another shape; names layer, blob and both shapes.
    """
    copies: list[tuple[Tensor, np.ndarray]] = []
    loaded = []
    in_net = {layer.layer_name for layer in layers}
    for layer in layers:
        name, blobs = layer.layer_name, layer.blobs
        if name not in weights or (not blobs and not weights[name]):
            continue
        arrays = weights[name]
        if len(arrays) != len(blobs):
            raise CaffeFormatError(f'layer "{name}": {len(arrays)} blobs, the net has {len(blobs)}', file=file)
        for i, (blob, array) in enumerate(zip(blobs, arrays)):
            if not _fits(tuple(array.shape), tuple(blob.shape)):
                raise CaffeFormatError(
                    f'layer "{name}" blob {i}: shape {tuple(array.shape)}, the net has {tuple(blob.shape)}', file=file
                )
            copies.append((blob, array))
        loaded.append(name)
    with torch.no_grad():
        for blob, array in copies:
            blob.copy_(torch.from_numpy(np.ascontiguousarray(array)).reshape(blob.shape))
    return LoadReport(
        loaded,
        [name for name in weights if name not in in_net and len(weights[name])],
        [layer.layer_name for layer in layers if layer.blob_names and layer.layer_name not in weights],
    )
