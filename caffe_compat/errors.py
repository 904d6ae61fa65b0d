"""Errors that name the offending thing, the place and the rule it broke."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class CaffeFormatError(ValueError):
    """A file or text is not what its format promises.

    `str()` reads `FILE:LINE:COLUMN: message` for text and `FILE: byte OFFSET: message` for binary files.

    Attributes:
        file: path or a name such as `<text>`; None when there is none.
        line, column: 1-based position in a text, or None.
        offset: 0-based byte offset in a binary file, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        column: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.message = message
        self.file = None if file is None else str(file)
        self.line = line
        self.column = column
        self.offset = offset
        place = self.file or ""
        if line is not None:
            place += f":{line}" if column is None else f":{line}:{column}"
        if offset is not None:
            place += f": byte {offset}" if place else f"byte {offset}"
        super().__init__(f"{place}: {message}" if place else message)


class UnsupportedLayerError(ValueError):
    """A net asks for a layer that this package does not compute.

    Attributes:
        layer: name of the layer in the net.
        type: its type string.
        dialects: the dialects whose Caffe has such a layer; empty when none of them does.
        hint: what can be done about it.
    """

    def __init__(self, layer: str, type: str, dialects: Sequence[str] = (), *, hint: str = "", place: str = "") -> None:
        self.layer = layer
        self.type = type
        self.dialects = tuple(dialects)
        self.hint = hint
        known = f"dialects that have it: {', '.join(self.dialects)}" if self.dialects else "no dialect here knows it"
        place = f"{place}: " if place else ""
        super().__init__(
            f'{place}layer "{layer}": type "{type}" is not supported ({known})' + (f"; {hint}" if hint else "")
        )


class DialectError(ValueError):
    """The meaning of a file depends on the Caffe fork that it was written for, and the fork is not known.

    Attributes:
        choices: the dialects that could be meant.
    """

    def __init__(self, message: str, choices: Sequence[str] = ()) -> None:
        self.choices = tuple(choices)
        super().__init__(message + (f" (choose dialect= one of: {', '.join(self.choices)})" if self.choices else ""))
