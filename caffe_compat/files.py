"""Files that are either whole or absent, and numpy's files without pickles."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from caffe_compat.errors import CaffeFormatError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it becomes `path` when the block ends well and vanishes otherwise."""
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp's 0600 would hide the result from others
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of an .npz in the file's order.

    Raises:
        CaffeFormatError: a damaged file, or one that holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        AttributeError,
        TypeError,
        NotImplementedError,
    ) as error:
        raise CaffeFormatError(f"not an .npz of arrays: {error}", file=path) from None


def read_npy(path: str | Path) -> np.ndarray:
    """The array of an .npy; errors as `read_npz`."""
    try:
        array = np.load(path, allow_pickle=False)
    except (EOFError, ValueError) as error:
        reason = "Python objects, or no .npy at all" if "pickle" in str(error) else error
        raise CaffeFormatError(f"not an .npy array: {reason}", file=path) from None
    if not isinstance(array, np.ndarray):
        raise CaffeFormatError("an .npz under the name of an .npy", file=path)
    return array
