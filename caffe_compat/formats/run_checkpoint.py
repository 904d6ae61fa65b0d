"""The weights of a training run's checkpoint (runs/.../iteration_N.safetensors), without momentum and sampler."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError

_FORMAT = "dml-ports checkpoint "  # the key of its metadata begins so; the number of its version follows
_BLOB = re.compile(r"blob/(.+)/(\d+)")
_NET = "net/"


def is_checkpoint(path: Path) -> bool:
    """Whether the file is a checkpoint of a run. False for any other file, damaged ones included."""
    if path.suffix != ".safetensors":
        return False
    try:
        with _opened(path):
            return True
    except CaffeFormatError:
        return False


def has_blobs(path: Path) -> bool:
    """Whether a checkpoint is that of a Caffe recipe, by the names in it. Raises CaffeFormatError for no checkpoint."""
    with _opened(path) as file:
        return any(_BLOB.fullmatch(name) for name in file.keys())  # noqa: SIM118 - not a dict


def read_blobs(path: Path) -> dict[str, list[NDArray[Any]]]:
    """Layer name -> blobs of a Caffe recipe's checkpoint, in Caffe's order.

    Raises CaffeFormatError: no checkpoint of a run, that of a PyTorch recipe, a blob that is missing.
    """
    return _by_layer(_tensors(path), path)


def _by_layer(tensors: dict[str, NDArray[Any]], path: Path) -> dict[str, list[NDArray[Any]]]:
    found: dict[str, dict[int, NDArray[Any]]] = {}
    for name, array in tensors.items():
        if (match := _BLOB.fullmatch(name)) is not None:
            found.setdefault(match[1], {})[int(match[2])] = array
    if not found:
        raise CaffeFormatError("a PyTorch recipe's checkpoint has no Caffe layers", file=path)
    for layer, blobs in found.items():
        if sorted(blobs) != list(range(len(blobs))):
            raise CaffeFormatError(f'layer "{layer}" has blobs {sorted(blobs)}, not 0 .. {len(blobs) - 1}', file=path)
    return {layer: [blobs[i] for i in range(len(blobs))] for layer, blobs in found.items()}


def read_plain(path: Path) -> dict[str, NDArray[Any]]:
    """Weights by plain name: "backbone.conv1_7x7_s2.weight" of PyTorch recipes, "LAYER:BLOB" of Caffe's. Errors as above."""
    tensors = _tensors(path)
    net = {name.removeprefix(_NET): array for name, array in tensors.items() if name.startswith(_NET)}
    if net:
        return net
    return {f"{layer}:{i}": blob for layer, blobs in _by_layer(tensors, path).items() for i, blob in enumerate(blobs)}


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            if not any(key.startswith(_FORMAT) for key in file.metadata() or {}):
                raise CaffeFormatError("not a checkpoint of a run", file=path)
            yield file
    except (SafetensorError, OSError) as error:
        raise CaffeFormatError(f"not a safetensors file ({error})", file=path) from None
