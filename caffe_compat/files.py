"""NumPy's files, without pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from ports import bounded


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz in the file's order.

    Raises:
        CaffeFormatError: a damaged file, one that holds Python objects, or that claims more than `ports.bounded` lets it.
    """
    try:
        return bounded.read_npz(path)
    except bounded.BoundsError as error:
        raise CaffeFormatError(str(error), file=path) from None


def read_npy(path: str | Path) -> NDArray[Any]:
    """The array of an .npy; errors as `read_npz`."""
    try:
        return bounded.read_npy(path)
    except bounded.BoundsError as error:
        raise CaffeFormatError(str(error), file=path) from None
