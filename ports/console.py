"""Tables for terminals, files and pipes. One rule for every command: names are never cut and never wrapped.

A table keeps to the width of the terminal, or to COLUMNS where that is set; into a file or a pipe its columns are as wide as
their longest cell, a row is one line. What gives way are columns of prose, down to `LEAST`; names stay whole even where a line
then outgrows the terminal.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

UNKNOWN = "\ufffd"
LEAST = 16  # columns that a column of prose keeps
# What would turn the rest of a line around, move the cursor, or is no character at all.
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CODES = {"green": "32", "red": "1;31", "yellow": "33", "bold": "1"}


def shown(value: object) -> str:
    """One line of text that can be written as UTF-8; what has no place in a line is replaced."""
    return _INVISIBLE.sub(UNKNOWN, re.sub(r"[\t\n\v\f\r\u0085\u2028\u2029]+", " ", str(value)))


def width() -> int | None:
    """Columns to keep to; None where the output goes into a file or a pipe and COLUMNS is not set."""
    if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) > 0:
        return int(os.environ["COLUMNS"])
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def colours() -> bool:
    """Whether to write a terminal's colours: on one, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def coloured(text: str, colour: str | None) -> str:
    """The text in one of the colours, where they are wanted."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if colour and text.strip() and colours() else text


@dataclass
class Table:
    """Rows of text under a header. `names` and `right`: the columns that stay whole, those that are set right."""

    header: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    names: Sequence[int] = (0,)
    right: Sequence[int] = ()
    title: str = ""
    paint: Mapping[str, str] = field(default_factory=dict)  # a cell's first word -> its colour

    def lines(self) -> list[str]:
        """The lines that are printed."""
        cells = [[shown(cell) for cell in row] for row in [self.header, *self.rows]]
        widths = self._widths([max(len(row[k]) for row in cells) for k in range(len(self.header))], width())
        found = [self.title] if self.title else []
        for number, row in enumerate(cells):
            parts = [textwrap.wrap(cell, w, break_on_hyphens=False) or [""] for cell, w in zip(row, widths)]
            for line in range(max(map(len, parts))):
                text = [part[line] if line < len(part) else "" for part in parts]
                aligned = [c.rjust(w) if k in self.right else c.ljust(w) for k, (c, w) in enumerate(zip(text, widths))]
                aligned[-1] = aligned[-1] if len(aligned) - 1 in self.right else aligned[-1].rstrip()
                painted = [coloured(c, self._colour(whole, number)) for c, whole in zip(aligned, row)]
                found.append("  ".join(painted).rstrip())
        return found

    def _colour(self, cell: str, number: int) -> str | None:
        return "bold" if number == 0 else self.paint.get(cell.split(" ")[0])

    def _widths(self, natural: list[int], most: int | None) -> list[int]:
        widths = list(natural)
        while most is not None and sum(widths) + 2 * (len(widths) - 1) > most:
            prose = [k for k in range(len(widths)) if k not in self.names and widths[k] > LEAST]
            if not prose:
                break
            widths[max(prose, key=lambda k: widths[k])] -= 1
        return widths

    def as_json(self) -> list[dict[str, str]]:
        """A row as an object, its keys the header's."""
        return [dict(zip(self.header, map(str, row))) for row in self.rows]

    def print(self) -> None:
        print("\n".join(self.lines()))


def paragraph(text: str, indent: str = "") -> str:
    """Text wrapped to the terminal's width; one line into a file or a pipe."""
    most = width()
    if most is None:
        return indent + shown(text)
    return textwrap.fill(shown(text), most, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
