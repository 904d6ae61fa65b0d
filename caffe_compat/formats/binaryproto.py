"""Mean images and other single blobs: .binaryproto files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats.blobs import fill_blob, to_array
from caffe_compat.formats.wire import parse_message
from caffe_compat.schema.weights import weights_class
from ports.files import atomic_path


def read_binaryproto(path: str | Path) -> NDArray[Any]:
    """Read one blob; a mean image is (1, C, H, W), channels in B, G, R order, values in 0..255.

    Raises:
        CaffeFormatError: not a BlobProto, or its values do not fit its shape.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    blob = parse_message(path.read_bytes(), weights_class("BlobProto"), file=path)
    if not blob.ListFields():
        raise CaffeFormatError("neither shape nor values in it; not a binaryproto?", file=path)
    return to_array(blob, "blob", file=path)


def write_binaryproto(path: str | Path, array: NDArray[Any]) -> None:
    """Write one blob. A (C, H, W) or (1, C, H, W) array gets the legacy dimensions that Caffe's own tool writes."""
    array = np.asarray(array)
    if array.ndim == 3:
        array = array[None]
    blob = weights_class("BlobProto")()
    fill_blob(blob, array, legacy=array.ndim == 4)
    with atomic_path(path) as temporary:
        temporary.write_bytes(blob.SerializeToString())
