"""Reading without trusting sizes: what a file claims must fit what is there, and memory obeys the file's size.

One rule for all readers: `budget(size)`, ten times the file and 100 MB. Whoever packs more into a file is refused.
"""

from __future__ import annotations

import ast
import io
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_MAX_AXES = 32


class BoundsError(ValueError):
    """Content that is damaged or claims more than it may: what, without the file's name."""


def budget(size: int) -> int:
    """How many bytes may come out of a file of `size` bytes."""
    return 10 * size + 100_000_000


def inflate(data: bytes | memoryview, limit: int) -> bytes:
    """Decompressed zlib data. Raises BoundsError beyond `limit` bytes, for damaged and for cut data."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, limit)
    except zlib.error as error:
        raise BoundsError(f"compressed data cannot be read ({error})") from None
    if stream.unconsumed_tail:
        raise BoundsError(f"{len(data):,} compressed bytes hold more than {limit:,}")
    if not stream.eof:
        raise BoundsError("compressed data is cut off")
    return found


def npy_array(data: bytes) -> NDArray[Any]:
    """The array of a whole .npy file's bytes, a new writable array. Raises BoundsError; never reads Python objects."""
    if data[:6] != _MAGIC:
        kind = "an .npz archive" if data[:4] == b"PK\x03\x04" else "Python objects, or no .npy at all"
        raise BoundsError(f"not an .npy array: {kind}")
    if len(data) < 12 or data[6] not in (1, 2, 3):
        raise BoundsError(
            f"not an .npy array of format 1 to 3 (its version byte is {data[6] if len(data) > 6 else None})"
        )
    width = 2 if data[6] == 1 else 4
    (length,) = struct.unpack_from("<H" if width == 2 else "<I", data, 8)
    start = 8 + width + length
    if start > len(data) or length > 1 << 16:
        raise BoundsError(f"its header claims {length:,} bytes")
    shape, dtype, fortran = _header(data[8 + width : start])
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != len(data) - start:
        raise BoundsError(f"shape {_short(shape)} of {dtype} wants {claimed:,} bytes, {len(data) - start:,} are there")
    array = np.frombuffer(data, dtype, offset=start).copy() if claimed else np.empty(0, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _header(text: bytes) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    try:
        fields = ast.literal_eval(text.decode("latin-1").strip())
        shape, description, fortran = fields["shape"], fields["descr"], fields["fortran_order"]
        dtype = np.dtype([tuple(d) for d in description]) if isinstance(description, list) else np.dtype(description)
        whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 1 << 62 for n in shape)
        if not whole or len(shape) > _MAX_AXES or not isinstance(fortran, bool):
            raise ValueError(f"shape {_short(shape)}")
    except (Exception, RecursionError) as error:  # what Python's parser and np.dtype raise is of a dozen kinds
        raise BoundsError(f"its header cannot be read ({str(error)[:100]})") from None
    if dtype.hasobject:
        raise BoundsError("it holds Python objects")
    return shape, dtype, fortran


def read_npy(path: str | Path) -> NDArray[Any]:
    """The array of an .npy file. Raises BoundsError (without the file's name), OSError."""
    return npy_array(Path(path).read_bytes())


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz by name, in the file's order. Raises BoundsError (without the file's name), OSError."""
    data = Path(path).read_bytes()
    arrays: dict[str, NDArray[Any]] = {}
    left = budget(len(data))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                left -= info.file_size
                if left < 0:
                    raise BoundsError(f"its members claim more than {budget(len(data)):,} bytes")
                with archive.open(info) as member:
                    content = member.read(info.file_size + 1)
                if len(content) != info.file_size:
                    raise BoundsError(f"member {info.filename!r} has another size than its directory says")
                arrays[info.filename.removesuffix(".npy")] = npy_array(content)
    except BoundsError:
        raise
    except (
        Exception,
        RecursionError,
    ) as error:  # zipfile reports damage as ten kinds, OSError and RuntimeError included
        raise BoundsError(f"not an .npz of arrays ({type(error).__name__}: {str(error)[:100]})") from None
    return arrays


def _short(shape: object) -> str:
    return str(shape)[:60]
