"""MATLAB files of any version to plain Python values: v4 (scipy), v5/6/7 (`ports.datasets.matfile`) and v7.3 (HDF5, h5py)."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from caffe_compat.errors import CaffeFormatError
from caffe_compat.matlab.mat73 import read_mat73
from ports.datasets.matfile import MatError, read_mat5

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_mat(path: str | Path) -> dict[str, Any]:
    """Variables of a .mat file by name, the same values from every version of the format.

    A char row is a str, a char matrix a list of str (rows, right-padding removed), a cell array an object array of
    its MATLAB shape, a struct a dict (an object array of dicts when it is no 1x1), a number array a numpy array of at
    least two axes as MATLAB shows it, None what holds no list (sparse matrices, functions, objects).

    Raises:
        CaffeFormatError: not a .mat file, truncated, damaged, or with references that lead nowhere.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    data = path.read_bytes()
    if data[:8] == _HDF5 or data[512:520] == _HDF5:
        del data
        return read_mat73(path)
    if len(data) < 20:
        raise CaffeFormatError(f"not a .mat file: {len(data)} bytes", file=path)
    # A version 4 file begins with a number below 5000, so one of its first bytes is zero; later ones begin with text.
    if 0 in data[:4]:
        return _read_mat4(data, path)
    try:
        return read_mat5(data)
    except MatError as error:
        raise CaffeFormatError(error.reason, file=path, offset=error.offset) from None


def _read_mat4(data: bytes, path: Path) -> dict[str, Any]:
    import scipy.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # duplicate names and the like, which concern no split
            # BytesIO: reading beyond the end returns what is there, where a file object allocates first.
            found = scipy.io.loadmat(io.BytesIO(data), squeeze_me=False, chars_as_strings=True)
    except Exception as error:  # scipy reports damage with about ten kinds of exception
        raise CaffeFormatError(f"damaged .mat: {type(error).__name__}: {error!s:.200}", file=path) from None
    return {name: _plain(value) for name, value in found.items() if not name.startswith("__")}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "US":
        rows = [str(row).rstrip("\0") for row in value.reshape(-1)]
        return [row.rstrip() for row in rows] if len(rows) > 1 else "".join(rows)
    return value
