"""Plain text tables and paragraphs. Names are never cut and never wrapped; columns of prose give way to the terminal's width.

Into a file or a pipe columns are as wide as their longest cell and a row is one line, unless COLUMNS is set.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

_LEAST = 16  # columns that a column of prose keeps
_CODES = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}


def width() -> int | None:
    """Columns to keep to; None where the output goes into a file or a pipe and COLUMNS is not set."""
    if os.environ.get("COLUMNS", "").isdecimal() and int(os.environ["COLUMNS"]) > 0:
        return int(os.environ["COLUMNS"])
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def coloured(text: str, colour: str, on: bool) -> str:
    """The text in a terminal's colour, or as it is."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if on and text else text


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """A paragraph of at most `width` columns, one line where that is None; words are never broken."""
    if width is None:
        return indent + text
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _widths(natural: list[int], width: int | None, names: Sequence[int]) -> list[int]:
    """Columns' widths: the widest of prose give way until the table fits, none below `_LEAST`."""
    widths = list(natural)
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        prose = [k for k in range(len(widths)) if k not in names and widths[k] > _LEAST]
        if not prose:
            break
        widths[max(prose, key=lambda k: widths[k])] -= 1
    return widths


def table(
    rows: Iterable[Sequence[str]], width: int | None, *, right: Sequence[int] = (), names: Sequence[int] = (0,)
) -> list[str]:
    """Lines of a table with aligned columns, two spaces between.

    Args:
        rows: cells, the header's first.
        width: columns to keep to, or None.
        right: columns set right.
        names: columns that stay whole.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = _widths([max(len(row[k]) for row in cells) for k in range(len(cells[0]))], width, names)
    lines = []
    for row in cells:
        parts = [textwrap.wrap(cell, w, break_on_hyphens=False) or [""] for cell, w in zip(row, widths)]
        for n in range(max(map(len, parts))):
            line = [p[n] if n < len(p) else "" for p in parts]
            aligned = [c.rjust(w) if k in right else c.ljust(w) for k, (c, w) in enumerate(zip(line, widths))]
            lines.append("  ".join(aligned).rstrip())
    return lines
