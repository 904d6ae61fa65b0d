"""Plain text tables and paragraphs, for terminals and files."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

_LEAST = 12  # columns that a wrapped column keeps
_CODES = {"green": "32", "red": "31", "yellow": "33", "dim": "2", "bold": "1"}


def coloured(text: str, colour: str, on: bool) -> str:
    """The text in a terminal's colour, or as it is."""
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if on and text else text


def wrapped(text: str, width: int, indent: str = "") -> str:
    """A paragraph of at most `width` columns; words are never broken."""
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _widths(natural: list[int], width: int) -> list[int]:
    """Columns' widths: the widest give way until the table fits, none below `_LEAST`."""
    widths = list(natural)
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _LEAST:
        widths[widths.index(max(widths))] -= 1
    return widths


def table(rows: Iterable[Sequence[str]], width: int, *, right: Sequence[int] = ()) -> list[str]:
    """Lines of a table with aligned columns, two spaces between; cells that are too wide are wrapped. `right`: columns set right."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = _widths([max(len(row[k]) for row in cells) for k in range(len(cells[0]))], width)
    lines = []
    for row in cells:
        parts = [textwrap.wrap(cell, w, break_on_hyphens=False) or [""] for cell, w in zip(row, widths)]
        for n in range(max(map(len, parts))):
            line = [p[n] if n < len(p) else "" for p in parts]
            aligned = [c.rjust(w) if k in right else c.ljust(w) for k, (c, w) in enumerate(zip(line, widths))]
            lines.append("  ".join(aligned).rstrip())
    return lines
