"""Weights into a net by layer name, with Caffe's rules."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
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
    layers: Sequence[Layer],
    weights: Sequence[tuple[str, Sequence[NDArray[Any]]]],
    *,
    file: str | Path | None = None,
) -> LoadReport:
    """Copy `weights` (pairs of layer name and blobs) into `layers`; checks everything before it changes anything.

    Of several layers of one name the first takes the first of that name, the second the second, and so on; what is left
    over goes to the last, so that a single layer ends with the file's last. Caffe's own loading gives the first layer
    all of them and leaves the others as they were, though its snapshot writes each: a warning says where that differs.

    Raises:
        CaffeFormatError: another number of blobs, or a blob of another shape; names layer, blob and both shapes.
    """
    copies: list[tuple[Tensor, NDArray[Any]]] = []
    loaded = []
    by_name: dict[str, list[Layer]] = {}
    for layer in layers:
        by_name.setdefault(layer.layer_name, []).append(layer)
    taken: Counter[str] = Counter()
    for name, arrays in weights:
        targets = by_name.get(name, [])
        with_blobs = [layer for layer in targets if layer.blob_names]
        if not targets or not (with_blobs or len(arrays)):
            continue
        if with_blobs and not len(arrays) and len(targets) > 1:
            continue  # one of the namesakes has no blobs
        layer = (with_blobs or targets)[min(taken[name], len(with_blobs or targets) - 1)]
        taken[name] += 1
        blobs = layer.blobs
        if len(arrays) != len(blobs):
            raise CaffeFormatError(f'layer "{name}": {len(arrays)} blobs, the net has {len(blobs)}', file=file)
        for i, (blob, array) in enumerate(zip(blobs, arrays)):
            if not _fits(tuple(array.shape), tuple(blob.shape)):
                raise CaffeFormatError(
                    f'layer "{name}" blob {i}: shape {tuple(array.shape)}, the net has {tuple(blob.shape)}', file=file
                )
            copies.append((blob, array))
        if name not in loaded:
            loaded.append(name)
        if taken[name] == 2:
            known = len(with_blobs)
            what = (
                f"the net has {known}: each keeps its own here, Caffe loads all into the first"
                if known > 1
                else ("the last one in the file counts")
            )
            warnings.warn(f'{file or "weights"}: several layers are named "{name}"; {what}', stacklevel=3)
    names = {name for name, _ in weights}
    with torch.no_grad():
        for blob, array in copies:
            blob.copy_(torch.from_numpy(np.ascontiguousarray(array)).reshape(blob.shape))
    return LoadReport(
        loaded,
        list(dict.fromkeys(name for name, arrays in weights if name not in by_name and len(arrays))),
        [layer.layer_name for layer in layers if layer.blob_names and layer.layer_name not in names],
    )
