"""Walk a MATLAB 5-7 file before it is parsed: every size it claims must fit in the bytes that are there.

scipy allocates what a header asks for; a damaged header can ask for the whole memory. This check refuses such files
with the byte offset, and bounds nesting, so that parsing afterwards allocates no more than the contents.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

from caffe_compat.errors import CaffeFormatError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE = 1, 2, 3, 4, 5
_MAX_DEPTH = 32
_ITEM_SIZE = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_MAX_DIMS = 32


class _Walker:
    def __init__(self, data: bytes, order: str, file: str | Path | None, base: int) -> None:
        self.data = data
        self.order = order
        self.file = file
        self.base = base  # offset of `data` in the file, for errors

    def fail(self, offset: int, reason: str) -> CaffeFormatError:
        return CaffeFormatError(f"damaged .mat: {reason}", file=self.file, offset=self.base + offset)

    def tag(self, pos: int, end: int) -> tuple[int, int, int, int]:
        """(data type, start of data, bytes, position behind it) of the element at pos."""
        if pos + 8 > end:
            raise self.fail(pos, f"an element tag needs 8 bytes, {end - pos} are left")
        first, second = struct.unpack_from(f"{self.order}II", self.data, pos)
        if first >> 16:  # small element: type and size in one word, up to four bytes of data in the next
            kind, size = first & 0xFFFF, first >> 16
            if size > 4:
                raise self.fail(pos, f"a small element claims {size} bytes")
            return kind, pos + 4, size, pos + 8
        if second > end - pos - 8:
            raise self.fail(pos, f"an element claims {second} bytes, {end - pos - 8} are left")
        # Only top-level elements may lack the padding to 8 bytes.
        return first, pos + 8, second, min(pos + 8 + (second + 7) // 8 * 8, end)

    def numbers(self, pos: int, end: int) -> tuple[tuple[int, ...], int]:
        kind, start, size, after = self.tag(pos, end)
        if kind not in (5, 6) or size % 4:
            raise self.fail(pos, f"expected 32-bit numbers, found type {kind} of {size} bytes")
        return struct.unpack_from(f"{self.order}{size // 4}{'i' if kind == 5 else 'I'}", self.data, start), after

    def matrix(self, pos: int, end: int, depth: int) -> None:
        """Check the contents of a matrix element."""
        if pos == end:
            return  # an empty cell is written as an element of no bytes
        if depth > _MAX_DEPTH:
            raise self.fail(pos, f"cells are nested more than {_MAX_DEPTH} deep")
        flags, after = self.numbers(pos, end)
        dims, pos = self.numbers(after, end)
        if len(flags) != 2 or len(dims) > _MAX_DIMS or any(d < 0 for d in dims):
            raise self.fail(after, f"array flags {flags} with dimensions {dims[:8]}")
        _, _, _, pos = self.tag(pos, end)  # name
        kind, count = flags[0] & 0xFF, math.prod(dims)
        if kind == _CELL:
            self.children(pos, end, count, depth)
        elif kind in (_STRUCT, _OBJECT):
            self.struct(pos, end, count, depth, kind)
        elif kind == _CHAR or 6 <= kind <= 15:
            self.values(pos, end, count, dims, kind)
        elif kind != _SPARSE:
            raise self.fail(after, f"array class {kind} is not supported")

    def values(self, pos: int, end: int, count: int, dims: tuple[int, ...], kind: int) -> None:
        if count == 0 and pos == end:
            return
        type_, _, size, _ = self.tag(pos, end)
        item = 1 if kind == _CHAR else _ITEM_SIZE.get(type_)
        if item is None or (count > size if kind == _CHAR else count * item != size):
            raise self.fail(pos, f"an array of {dims[:8]} has {size} bytes of type {type_}")

    def struct(self, pos: int, end: int, count: int, depth: int, kind: int) -> None:
        if kind == _OBJECT:
            _, _, _, pos = self.tag(pos, end)  # class name
        lengths, pos = self.numbers(pos, end)
        _, start, size, pos = self.tag(pos, end)
        if len(lengths) != 1 or lengths[0] <= 0 or start + size > end:
            raise self.fail(pos, f"field name length {lengths}")
        self.children(pos, end, count * (size // lengths[0]), depth)

    def children(self, pos: int, end: int, count: int, depth: int) -> None:
        if count > (end - pos) // 8:
            raise self.fail(pos, f"{count} elements are claimed in {end - pos} bytes")
        for i in range(count):
            kind, start, size, after = self.tag(pos, end)
            if kind != _MATRIX:
                raise self.fail(pos, f"element {i} of a cell or struct has type {kind}, not a matrix")
            self.matrix(start, start + size, depth + 1)
            pos = after


def check_mat5(data: bytes, file: str | Path | None = None) -> None:
    """Raise CaffeFormatError (with the byte offset) unless all sizes of a MATLAB 5-7 file fit its contents.

    Args:
        data: the whole file.
        file: its path, for errors.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise CaffeFormatError("not a MATLAB 5 file: no byte order mark", file=file, offset=126)
    top = _Walker(data, order, file, 0)
    pos = _HEADER
    while pos < len(data):
        kind, start, size, _ = top.tag(pos, len(data))
        if kind == _COMPRESSED:
            _check_compressed(top, pos, start, size)
        elif kind == _MATRIX:
            top.matrix(start, start + size, 0)
        else:
            raise top.fail(pos, f"a variable has element type {kind}")
        pos = start + size


def _check_compressed(top: _Walker, pos: int, start: int, size: int) -> None:
    try:
        data = zlib.decompress(memoryview(top.data)[start : start + size])
    except zlib.error as error:
        raise top.fail(pos, f"a compressed variable cannot be read ({error})") from None
    inner = _Walker(data, top.order, top.file, top.base + start)
    kind, begin, length, _ = inner.tag(0, len(data))
    if kind != _MATRIX:
        raise top.fail(pos, f"a compressed variable holds element type {kind}")
    inner.matrix(begin, begin + length, 0)
