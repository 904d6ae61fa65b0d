"""Protobuf text of one dialect to a message and back, with positions in every error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message

from caffe_compat.errors import CaffeFormatError, UnsupportedLayerError
from caffe_compat.schema import DIALECTS, check_dialect, message_class
from caffe_compat.schema.tables import tables

_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?P<name>[A-Za-z_]\w*)(?=\s*[:{<])""")
_SCALAR = re.compile(r"""\s*:\s*("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[^\s{}<>\[\];,"']+)""")
_NO_FIELD = re.compile(r'has no field named "(\w+)"')


def load_text(source: str | Path) -> tuple[str, str]:
    """Return (text, name for errors) of a path, or of a string that is prototxt text itself.

    A string is text when it has a brace or a line break, or a colon in a string that names no file.

    Raises:
        FileNotFoundError: a path to nothing.
        CaffeFormatError: a file that is no text.
    """
    if isinstance(source, str) and not source.strip():
        raise CaffeFormatError("an empty string is neither a path nor prototxt text")
    if isinstance(source, str) and ("\n" in source or "{" in source):
        return source, "<text>"
    if isinstance(source, str) and ":" in source and not os.path.isfile(source):
        return source, "<text>"
    path = Path(source)
    data = path.read_bytes()
    if b"\0" in data:
        raise CaffeFormatError(
            "not a prototxt: holds a zero byte (a binary file?)", file=path, offset=data.index(b"\0")
        )
    # Comments in any encoding are common; bytes that are not UTF-8 only matter inside a value, where they raise.
    return data.decode("utf-8-sig", errors="surrogateescape"), str(path)


@contextmanager
def layers_placed(source: str | Path | Any) -> Iterator[None]:
    """Give errors that name a layer the file and the line where `source` (path or prototxt text) says its name."""
    try:
        yield
    except (CaffeFormatError, UnsupportedLayerError) as error:
        if not isinstance(source, str | Path) or getattr(error, "file", None) is not None:
            raise
        text, file = load_text(source)
        if isinstance(error, UnsupportedLayerError):
            line = _line_of_layer(text, error.layer)
            place = f"{file}:{line}" if line else file
            raise UnsupportedLayerError(
                error.layer, error.type, error.dialects, hint=error.hint, place=place
            ) from error
        named = re.match(r'layer "(.*?)"', error.message)
        line = _line_of_layer(text, named[1]) if named else None
        raise CaffeFormatError(error.message, file=file, line=line) from error


def _line_of_layer(text: str, name: str) -> int | None:
    """Line of `name: "NAME"` in a layer; None where two layers (of two phases, say) or none carry the name."""
    found = list(re.finditer(rf"""\blayers?\s*:?\s*{{[^{{}}]*?\bname\s*:\s*(["']){re.escape(name)}\1""", text))
    return text.count("\n", 0, found[0].end()) + 1 if len(found) == 1 else None


def rename_fields(text: str, rename: Mapping[str, str | None]) -> str:
    """Rename fields in prototxt text (not in comments or strings); a name mapped to None loses its scalar entries.

    Line numbers stay as they were.
    """
    pieces, end = [], 0
    for match in _TOKEN.finditer(text):
        name = match["name"]
        if name not in rename or match.start() < end:
            continue
        pieces.append(text[end : match.start()])
        new, end = rename[name], match.end()
        if new is not None:
            pieces.append(new)
        elif value := _SCALAR.match(text, end):
            end = value.end()
        else:
            raise CaffeFormatError(
                f'cannot drop "{name}": only scalar fields can be dropped', line=text.count("\n", 0, match.start()) + 1
            )
    return "".join(pieces) + text[end:]


def _hint(error: str, dialect: str) -> str:
    match = _NO_FIELD.search(error)
    if match is None:
        return ""
    field = match[1]
    knowing = [d for d in DIALECTS if any(f.name == field for fields in tables()[d].messages.values() for f in fields)]
    hint = f"; read as {dialect}"
    if knowing and dialect not in knowing:
        hint += f', while "{field}" is known to {", ".join(knowing)}'
    if field == "negative_threshold" and dialect == "rll_cvpr19":
        hint += ' (or read it as CVPR-19 with rename={"negative_threshold": "margin"})'
    return hint


def parse(text: str, message_name: str, dialect: str, *, file: str = "<text>") -> Any:
    """Parse protobuf text strictly as one message of one dialect.

    Args:
        text: prototxt text.
        message_name: such as "NetParameter", "LayerParameter", "SolverParameter".
        dialect: one of `schema.DIALECTS`.
        file: what errors call the text.

    Raises:
        CaffeFormatError: with line and column; unknown field, wrong value, field given twice, bad syntax.
        DialectError: no such dialect.
    """
    message = message_class(check_dialect(dialect), message_name)()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line, column = error.GetLine() or 1, error.GetColumn()
        # The position is ours to print, and the whole line, which some errors repeat, may be the whole file.
        reason = re.sub(r"^\d+:\d+\s*:\s*", "", str(error)).removeprefix(f"{_line(text, line)!r}: ").rstrip(".")
        raise CaffeFormatError(f"{reason:.300}" + _hint(reason, dialect), file=file, line=line, column=column) from None
    except RecursionError:
        raise CaffeFormatError("messages are nested too deeply", file=file) from None
    except (UnicodeError, ValueError, TypeError, OverflowError, SystemError) as error:
        # SystemError: what protobuf's C code makes of an enum name that is not UTF-8
        raise CaffeFormatError(f"a value cannot be read: {error}", file=file) from None
    return message


def _line(text: str, number: int) -> str:
    lines = text.split("\n")
    return lines[number - 1] if 0 < number <= len(lines) else ""


def write(message: Message) -> str:
    """Prototxt text of a message; parsing it in the same dialect gives an equal message."""
    return text_format.MessageToString(message)
