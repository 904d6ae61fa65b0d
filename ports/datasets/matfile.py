"""Reader of MATLAB 5, 6 and 7 files that trusts no size.

scipy reads good files of these versions but can crash the interpreter or allocate what a damaged header asks for. Here
every claimed size must fit the bytes that are there, inflated bytes, elements and nesting are bounded, and an error names
the byte.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.bounded import BoundsError, budget, inflate

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR = 1, 2, 3, 4
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_CLASSES = dict(zip(range(6, 16), ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")))
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MAX_DEPTH = 32
_MAX_DIMS = 32
_MAX_FIELDS = 4096  # MATLAB has no use for more


class MatError(ValueError):
    """A damaged file. `reason` without the place, `offset` in bytes."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.reason, self.offset = reason, offset


def read_mat5(data: bytes) -> dict[str, Any]:
    """Variables by name. data: the whole file.

    A char row is a str, a char matrix a list of str, a cell array an object array of its MATLAB shape, a struct a dict (an
    object array of dicts when it is no 1x1), a number array an array of at least two axes, None what holds no list.

    Raises:
        MatError: with the offset of the element that is damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise MatError("not a MATLAB 5 file: no byte order mark", 126)
    top = _Reader(data, order, 0, _Allowance(len(data)))
    variables: dict[str, Any] = {}
    pos = _HEADER
    while pos < len(data):
        kind, start, size, _ = top.tag(pos, len(data))
        if kind == _COMPRESSED:
            name, value = _compressed(top, pos, start, size)
        elif kind == _MATRIX:
            name, value = top.matrix(start, start + size, 0)
        else:
            raise top.fail(pos, f"a variable has element type {kind}")
        variables[name] = value
        pos = start + size
    return variables


def _compressed(top: _Reader, pos: int, start: int, size: int) -> tuple[str, Any]:
    try:
        data = inflate(memoryview(top.data)[start : start + size], top.allowance.bytes)
    except BoundsError as error:
        raise top.fail(pos, f"a compressed variable cannot be read ({error})") from None
    top.allowance.bytes -= len(data)
    inner = _Reader(data, top.order, top.base + start, top.allowance)
    kind, begin, length, _ = inner.tag(0, len(data))
    if kind != _MATRIX:
        raise top.fail(pos, f"a compressed variable holds element type {kind}")
    return inner.matrix(begin, begin + length, 0)


class _Allowance:
    """What a file may still ask for: inflated bytes, and elements, each of which costs Python a hundred bytes or more."""

    def __init__(self, size: int) -> None:
        self.bytes = budget(size)
        self.elements = 100_000 + size // 4


class _Reader:
    def __init__(self, data: bytes, order: str, base: int, allowance: _Allowance) -> None:
        self.data = data
        self.order = order
        self.base = base  # offset of `data` in the file, for errors
        self.allowance = allowance
        self.words = struct.Struct(f"{order}II")

    def fail(self, offset: int, reason: str) -> MatError:
        return MatError(f"damaged .mat: {reason}", self.base + offset)

    def spend(self, size: int, pos: int) -> None:
        self.allowance.bytes -= size
        if self.allowance.bytes < 0:
            raise self.fail(pos, "its values want more memory than a file of this size may take")

    def tag(self, pos: int, end: int) -> tuple[int, int, int, int]:
        """(data type, start of data, bytes, position behind it) of the element at pos."""
        if pos + 8 > end:
            raise self.fail(pos, f"an element tag needs 8 bytes, {end - pos} are left")
        first, second = self.words.unpack_from(self.data, pos)
        if first >> 16:  # small element: type and size in one word, up to four bytes of data in the next
            kind, size = first & 0xFFFF, first >> 16
            if size > 4:
                raise self.fail(pos, f"a small element claims {size} bytes")
            return kind, pos + 4, size, pos + 8
        if second > end - pos - 8:
            raise self.fail(pos, f"an element claims {second} bytes, {end - pos - 8} are left")
        # The last element of a matrix may lack the padding to 8 bytes.
        return first, pos + 8, second, min(pos + 8 + (second + 7) // 8 * 8, end)

    def numbers(self, pos: int, end: int) -> tuple[tuple[int, ...], int]:
        kind, start, size, after = self.tag(pos, end)
        if kind not in (5, 6) or size % 4:
            raise self.fail(pos, f"expected 32-bit numbers, found type {kind} of {size} bytes")
        return struct.unpack_from(f"{self.order}{size // 4}{'i' if kind == 5 else 'I'}", self.data, start), after

    def matrix(self, pos: int, end: int, depth: int) -> tuple[str, Any]:
        """(name, value) of a matrix element; None for kinds that hold no list (sparse, function, opaque object)."""
        self.allowance.elements -= 1
        if self.allowance.elements < 0:
            raise self.fail(pos, "more cells and fields than a file of this size has any use for")
        if pos == end:
            return "", np.empty((0, 0))  # an empty cell is written as an element of no bytes
        if depth > _MAX_DEPTH:
            raise self.fail(pos, f"cells are nested more than {_MAX_DEPTH} deep")
        flags, after = self.numbers(pos, end)
        kind = flags[0] & 0xFF if flags else 0
        dims, pos = self.numbers(after, end)
        if len(flags) != 2 or not 2 <= len(dims) <= _MAX_DIMS or any(d < 0 for d in dims):
            raise self.fail(after, f"array flags {flags} with dimensions {dims[:8]}")
        _, start, size, pos = self.tag(pos, end)
        name = self.data[start : start + size].decode("ascii", "replace")
        count = math.prod(dims)
        value: Any = None
        if kind == _CELL:
            value = self.items(pos, end, count, depth).reshape(_small(dims), order="F")
        elif kind in (_STRUCT, _OBJECT):
            value = self.struct(pos, end, dims, depth, kind)
        elif kind == _CHAR:
            value = self.text(pos, end, dims)
        elif kind in _CLASSES:
            value, pos = self.array(pos, end, dims, _CLASSES[kind])
            if flags[0] & _COMPLEX:
                value = value + 1j * self.array(pos, end, dims, _CLASSES[kind])[0]
            elif flags[0] & _LOGICAL:
                value = value.astype(bool)
        elif not 5 <= kind <= 17:
            raise self.fail(after, f"there is no array class {kind}")
        return name, value

    def array(self, pos: int, end: int, dims: tuple[int, ...], dtype: str) -> tuple[NDArray[Any], int]:
        if pos == end and 0 in dims:
            return np.empty(_small(dims), dtype), pos
        type_, start, size, after = self.tag(pos, end)
        stored = _STORED.get(type_)
        if stored is None or math.prod(dims) * int(stored[1]) != size:
            raise self.fail(pos, f"an array of {dims[:8]} has {size} bytes of type {type_}")
        self.spend(math.prod(dims) * np.dtype(dtype).itemsize, pos)
        values = np.frombuffer(self.data, f"{self.order}{stored}", size // int(stored[1]), start)
        if size == 0:
            return np.empty(_small(dims), dtype), after
        return values.astype(dtype).reshape(dims, order="F"), after

    def text(self, pos: int, end: int, dims: tuple[int, ...]) -> Any:
        count = math.prod(dims)
        if count == 0:
            return ""
        type_, start, size, _ = self.tag(pos, end)
        encoding = _ENCODINGS.get(type_)
        if encoding is None or count > size or len(dims) != 2:
            raise self.fail(pos, f"a char array of {dims[:8]} has {size} bytes of type {type_}")
        self.spend(4 * size, pos)
        if encoding[-2:] in ("16", "32"):
            encoding += "-le" if self.order == "<" else "-be"
        try:
            text = self.data[start : start + size].decode(encoding)
        except UnicodeDecodeError as error:
            raise self.fail(pos, f"a char array is not {error.encoding}: {error.reason}") from None
        if dims[0] == 1:
            return text.rstrip("\0")
        if len(text) != count:
            raise self.fail(pos, f"a char array of {dims} has {len(text)} characters")
        return [text[row :: dims[0]].rstrip("\0 ") for row in range(dims[0])]

    def struct(self, pos: int, end: int, dims: tuple[int, ...], depth: int, kind: int) -> Any:
        if kind == _OBJECT:
            _, _, _, pos = self.tag(pos, end)  # class name
        lengths, pos = self.numbers(pos, end)
        _, start, size, after = self.tag(pos, end)
        if len(lengths) != 1 or not 0 < lengths[0] <= 64:
            raise self.fail(pos, f"field name length {lengths[:8]}")
        if size // lengths[0] > _MAX_FIELDS:
            raise self.fail(pos, f"a struct claims {size // lengths[0]} fields")
        names = [
            self.data[i : i + lengths[0]].split(b"\0")[0].decode("ascii", "replace")
            for i in range(start, start + size - lengths[0] + 1, lengths[0])
        ]
        count = math.prod(dims)
        values = self.items(after, end, count * len(names), depth)
        if len(names) == 0 and count > 1:
            raise self.fail(pos, f"{count} structs without a field")
        structs = np.empty(count, dtype=object)
        for i in range(count):
            structs[i] = dict(zip(names, values[i * len(names) : (i + 1) * len(names)]))
        return structs[0] if count == 1 else structs.reshape(_small(dims), order="F")

    def items(self, pos: int, end: int, count: int, depth: int) -> NDArray[Any]:
        if count > (end - pos) // 8:
            raise self.fail(pos, f"{count} elements are claimed in {end - pos} bytes")
        values = np.empty(count, dtype=object)
        for i in range(count):
            kind, start, size, after = self.tag(pos, end)
            if kind != _MATRIX:
                raise self.fail(pos, f"element {i} of a cell or struct has type {kind}, not a matrix")
            values[i] = self.matrix(start, start + size, depth + 1)[1]
            pos = after
        return values


def _small(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Shape to use: of an empty array the other axes may be anything in a damaged file, and reshape may overflow."""
    if 0 not in dims:
        return dims
    return (min(dims[0], 1 << 20), min(dims[1], 1 << 20)) if len(dims) == 2 else (0, 0)
