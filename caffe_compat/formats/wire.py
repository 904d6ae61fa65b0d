"""Parse protobuf bytes; on failure find the byte where they stop making sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from caffe_compat.errors import CaffeFormatError

_GROUP_DEPTH = 64


class _BadWire(Exception):
    def __init__(self, offset: int, reason: str) -> None:
        self.offset = offset
        self.reason = reason


def parse_message(data: bytes, message_class: Any, *, file: str | Path | None = None) -> Any:
    """Parse bytes as a message of the class.

    Raises:
        CaffeFormatError: with the offset of the first field that cannot be read.
    """
    try:
        return message_class.FromString(data)
    except (DecodeError, RuntimeWarning, UnicodeDecodeError) as error:
        name = message_class.DESCRIPTOR.name
        try:
            _walk(data, 0, len(data), message_class.DESCRIPTOR)
        except _BadWire as bad:
            raise CaffeFormatError(f"not a whole {name}: {bad.reason}", file=file, offset=bad.offset) from None
        raise CaffeFormatError(f"not a {name}: {error}", file=file) from None


def _varint(data: bytes, pos: int, end: int) -> tuple[int, int]:
    value = shift = 0
    start = pos
    while True:
        if pos >= end:
            raise _BadWire(start, "a number is cut off")
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift >= 70:
            raise _BadWire(start, "a number is longer than 10 bytes")


def _walk(data: bytes, pos: int, end: int, descriptor: Any, groups: tuple[int, ...] = ()) -> int:
    """Step over the fields of data[pos:end]; inside a group return at its end tag."""
    while pos < end:
        start = pos
        tag, pos = _varint(data, pos, end)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise _BadWire(start, f"there is no field number {number}")
        if kind == 0:
            _, pos = _varint(data, pos, end)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            if pos + size > end:
                raise _BadWire(start, f"field {number} needs {size} bytes, {end - pos} are left")
            pos += size
        elif kind == 2:
            length, pos = _varint(data, pos, end)
            if pos + length > end:
                raise _BadWire(start, f"field {number} claims {length} bytes, {end - pos} are left")
            field = descriptor.fields_by_number.get(number) if descriptor is not None else None
            if field is not None and field.message_type is not None:
                _walk(data, pos, pos + length, field.message_type)
            pos += length
        elif kind == 3:
            if len(groups) >= _GROUP_DEPTH:
                raise _BadWire(start, "groups are nested too deeply")
            pos = _walk(data, pos, end, None, (*groups, number))
        elif kind == 4:
            if not groups or groups[-1] != number:
                raise _BadWire(start, f"group {number} ends without a beginning")
            return pos
        else:
            raise _BadWire(start, f"field {number} has wire type {kind}, which does not exist")
    if groups:
        raise _BadWire(end, f"group {groups[-1]} does not end")
    return pos


def text_value(value: str | bytes, what: str, *, file: str | Path | None = None) -> str:
    """A string field's value; protobuf hands out bytes (or raises while parsing) when they are not UTF-8."""
    if isinstance(value, bytes):
        raise CaffeFormatError(f"{what} is not UTF-8: {value!r:.80}", file=file)
    return value
