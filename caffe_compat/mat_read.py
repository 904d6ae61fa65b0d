"""MATLAB files of any version to plain Python values: v4, v5/6/7 (scipy) and v7.3 (HDF5, h5py)."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from caffe_compat.errors import CaffeFormatError
from caffe_compat.mat5_check import check_mat5

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_mat(path: str | Path) -> dict[str, Any]:
    """Variables of a .mat file by name, the same values from every version of the format.

    A char row is a str, a char matrix a list of str (rows, right-padding removed), a cell array an object array of
    its MATLAB shape, a struct a dict (an object array of dicts when it is no 1x1), a number array a numpy array of at
    least two axes as MATLAB shows it. Empty values keep their kind: '' and arrays with a zero in their shape.

    Raises:
        CaffeFormatError: not a .mat file, truncated, damaged, or with references that lead nowhere.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    data = path.read_bytes()
    if data[:8] == _HDF5 or data[512:520] == _HDF5:
        from caffe_compat.mat73 import read_mat73

        del data
        return read_mat73(path)
    if len(data) < 20:
        raise CaffeFormatError(f"not a .mat file: {len(data)} bytes", file=path)
    import scipy.io

    # As scipy tells them apart: a version 4 file begins with a number below 5000, so one of its bytes is zero.
    if 0 not in data[:4]:
        check_mat5(data, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # duplicate names and the like, which concern no split
            # BytesIO: reading beyond the end returns what is there, where a file object allocates first.
            found = scipy.io.loadmat(io.BytesIO(data), squeeze_me=False, chars_as_strings=True)
    except Exception as error:  # scipy reports damage with about ten kinds of exception
        raise CaffeFormatError(f"damaged .mat: {type(error).__name__}: {error!s:.200}", file=path) from None
    return {name: _plain(value) for name, value in found.items() if not name.startswith("__")}


def _plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "US":
        rows = [str(row).rstrip("\0") for row in value.reshape(-1)]
        if value.size <= 1:
            return rows[0] if rows else ""
        return [row.rstrip() for row in rows]
    if value.dtype.names is not None:
        items = [{name: _plain(item[name]) for name in value.dtype.names} for item in value.reshape(-1)]
        return items[0] if len(items) == 1 else _objects(items, value.shape)
    if value.dtype == object:
        return _objects([_plain(item) for item in value.reshape(-1)], value.shape)
    return value


def _objects(items: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):  # not array[:] = items, which would unpack sequences
        array[i] = item
    return array.reshape(shape)
