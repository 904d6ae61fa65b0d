"""BlobProto messages of the weights schema to numpy arrays and back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.schema import message_class

_MAX_AXES = 32  # kMaxBlobAxes of blob.hpp
_MAX_DIM = 2**31 - 1  # Caffe's dimensions are C ints


def blob_shape(blob: Any) -> tuple[int, ...]:
    """Shape of a blob: `shape`, or the four legacy dimensions (num, channels, height, width)."""
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        return (blob.num, blob.channels, blob.height, blob.width)
    return (0,) if not (blob.data or blob.double_data) else ()


def to_array(blob: Any, where: str, *, file: str | Path | None = None, diff: bool = False) -> NDArray[Any]:
    """Values of a blob: float64 when it holds double_data, else float32; a new writable array.

    Args:
        blob: BlobProto of `schema.weights`.
        where: what errors call the blob, such as 'layer "conv1", blob 0'.
        file: file that errors name.
        diff: read the gradient instead of the data.

    Raises:
        CaffeFormatError: shape impossible, or the number of values does not fit it.
    """
    shape = blob_shape(blob)
    if len(shape) > _MAX_AXES or any(not 0 <= dim <= _MAX_DIM for dim in shape):
        raise CaffeFormatError(f"{where}: impossible shape {_short(shape)}", file=file)
    singles, doubles = (blob.diff, blob.double_diff) if diff else (blob.data, blob.double_data)
    chunks, dtype = (doubles, "<f8") if len(doubles) else (singles, "<f4")
    raw = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    count, size = math.prod(shape), np.dtype(dtype).itemsize
    if len(raw) != count * size:
        # Packed and single values in one blob: their order cannot be told any more, and no writer does it.
        values = None if len(chunks) else _unpacked(blob, diff)
        if values is None or values.size != count:
            got = f"{len(raw) / size:g}" if values is None else str(values.size)
            raise CaffeFormatError(f"{where}: shape {_short(shape)} wants {count} values, {got} are there", file=file)
        return values.reshape(shape)
    return np.frombuffer(raw, dtype=dtype).astype(dtype[1:], copy=True).reshape(shape)


def _unpacked(blob: Any, diff: bool) -> NDArray[Any] | None:
    """Values that a writer stored one field each (not packed): to this schema they are unknown fields."""
    try:
        typed = message_class("bvlc", "BlobProto").FromString(blob.SerializeToString())
    except Exception:  # DecodeError, or an error of another protobuf backend: then the values are no floats
        return None
    singles, doubles = (typed.diff, typed.double_diff) if diff else (typed.data, typed.double_data)
    return np.array(doubles, dtype="f8") if len(doubles) else np.array(singles, dtype="f4")


def _short(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) <= 8 else f"({', '.join(map(str, shape[:8]))}, ... {len(shape)} axes)"


def fill_blob(blob: Any, array: NDArray[Any], *, legacy: bool = False) -> None:
    """Write an array into an empty BlobProto: packed float32, or double_data for a float64 array as Caffe does.

    Args:
        blob: message to fill.
        array: values, (...) of any shape.
        legacy: write num, channels, height, width instead of `shape`; the array must be 4-D then.
    """
    array = np.asarray(array)
    double = array.dtype == np.float64
    raw = np.ascontiguousarray(array, dtype="<f8" if double else "<f4").tobytes()
    if raw:
        (blob.double_data if double else blob.data).append(raw)
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = array.shape
    else:
        blob.shape.dim.extend(array.shape)
        blob.shape.SetInParent()
