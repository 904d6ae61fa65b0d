"""The start as it is shipped, and back: 7-bit whole numbers with a scale for each filter, in a compressed .npz of 11 MB.

Unpacked it is what the authors' `googlenet_bn.caffemodel` is: a .caffemodel with their layer names and widths, and a second file
with the PyTorch weights' names and widths for the recipes that start from those. Both are known by their sha256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.files import atomic_path, sha256

FILE = Path(__file__).with_name("symbols.npz")
SHA256 = "d862eaf8f9f5e5cd44d38f97a8175c9202a9bf8541d8a7a1ff084fb3f30e845c"
# The unpacked files.
CAFFE, PYTORCH = "symbols.caffemodel", "symbols_wide.safetensors"
UNPACKED_SHA256 = {
    CAFFE: "e3aae502f6f6cb6de6a1074d096c3b3209c046d18800b5720e64b2e454acd770",
    PYTORCH: "faddff07f706830aaa16c5e74b5c0bbcc3781dca4ac9cbca6e30820139b3bf86",
}
_LEVELS = 63  # whole numbers from -63 to 63: a value is off by half a 63rd of its filter's largest at most
# BatchNorm's divisor of a net that has trained for long with Caffe's moving average is near 1000; this one loses no bit.
_DIVISOR = np.float32(1024)

Layers = Mapping[str, list[NDArray[Any]]]


class StartError(ValueError):
    """The shipped file is not the one that belongs to this version."""


def rounded(weights: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights (filters, ...) as whole numbers of the same shape, and the scale of each filter."""
    filters = weights.reshape(len(weights), -1)
    scale = (np.abs(filters).max(axis=1) / _LEVELS).astype(np.float32)
    scale[scale == 0] = 1
    return np.rint(filters / scale[:, None]).astype(np.int8).reshape(weights.shape), scale


def restored(numbers: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (float32) of `rounded`'s result: one multiplication each, the same on every machine."""
    return numbers.astype(np.float32) * scale.reshape(-1, *[1] * (numbers.ndim - 1))


def pack(path: Path, layers: Layers) -> None:
    """Write layers (of `network.caffe_layers`): convolutions and inner products rounded, BatchNorm and Scale as they are."""
    arrays: dict[str, Any] = {}
    for name, blobs in layers.items():
        if len(blobs) == 1:  # weights without bias
            arrays[f"{name}:numbers"], arrays[f"{name}:scale"] = rounded(blobs[0])
        else:
            arrays |= {f"{name}:{i}": blob.astype(np.float32) for i, blob in enumerate(blobs)}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def unpack(path: Path = FILE) -> dict[str, list[NDArray[np.float32]]]:
    """The layers in Caffe's form: BatchNorm's sums with the divisor of a net that has trained for long."""
    layers: dict[str, list[NDArray[np.float32]]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            name, part = key.rsplit(":", 1)
            if part == "scale":
                continue
            value = restored(arrays[key], arrays[f"{name}:scale"]) if part == "numbers" else arrays[key]
            layers.setdefault(name, []).append(value)
    for name, blobs in layers.items():
        if name.endswith("/bn"):
            mean, variance, _ = blobs
            layers[name] = [mean * _DIVISOR, variance * _DIVISOR, np.full(1, _DIVISOR)]
    return layers


def is_start(weights: Mapping[str, Any] | None) -> bool:
    """Whether a run's record of its starting weights names one of the unpacked files."""
    return weights is not None and weights.get("sha256") in UNPACKED_SHA256.values()


def unpacked(name: str, folder: Path, *, say: Callable[[str], None] = print) -> Path:
    """The file `name` (CAFFE or PYTORCH) in `folder`, written where it is not there or not what it should be.

    Raises StartError where the shipped file is damaged, OSError where `folder` cannot be written.
    """
    path = folder / name
    if path.is_file():
        if sha256(path) == UNPACKED_SHA256[name]:
            return path
        say(f"{path}: damaged (its sha256 is another); unpacked again")
    if (found := sha256(FILE)) != SHA256:
        raise StartError(f"{FILE}: sha256 {found[:16]}..., this version's is {SHA256[:16]}...: install it again")
    folder.mkdir(parents=True, exist_ok=True)
    write(name, path)
    return path


def write(name: str, path: Path, source: Path = FILE) -> None:
    """Unpack `source` as `name` to `path`."""
    from safetensors.torch import save_file

    from caffe_compat.bn_inception import from_caffe, layer_types  # torch
    from caffe_compat.formats.caffemodel import write_caffemodel  # protobuf's messages
    from caffe_compat.preprocessing import METADATA_KEY, PREPROCESSING  # beside them
    from caffe_compat.widening import for_other_means, widened  # torch

    layers = unpack(source)
    if name == CAFFE:
        inner = {layer: "InnerProduct" for layer in layers if layer.endswith("/fc")}
        write_caffemodel(path, layers, types=layer_types(layers) | inner)
        return
    state, _ = from_caffe(layers, source=str(source))
    own, other = PREPROCESSING["rll_cvpr19"], PREPROCESSING["pytorch"]
    moved = for_other_means(widened(state), own.mean, other.mean)
    with atomic_path(path) as temporary:
        # One entry: safetensors writes several in an order of its own, another each time, and the sha256 would be another, too.
        save_file(
            {name: moved[name].contiguous() for name in sorted(moved)}, temporary, {METADATA_KEY: other.to_json()}
        )
