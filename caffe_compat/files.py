"""Files that are either whole or absent, and numpy's files without pickles."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from ports import bounded


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
