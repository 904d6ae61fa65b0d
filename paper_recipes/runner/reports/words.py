"""Words that are not ours (names of data, classes, files, settings, whatever stands in a run.json), to be shown and not obeyed.

In Markdown they are escaped, so that neither Markdown nor the HTML made of it takes them for markup; in a picture matplotlib takes
them for no formula, and draws a replacement for what its font has not.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from ports.console import UNKNOWN
from ports.console import shown as shown

#: Longer names push the pictures of a grid off the page.
LONGEST = 40
# An underscore within a word is one; what else is markup at the start of a line alone is in _START.
_MARKUP = re.compile(r"([\\`*\[\]<&~$]|(?<![^\W_])_|_(?![^\W_]))")
_START = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[-+=>#]))")

_LATEX = {character: rf"\{character}" for character in "_&%#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


class Markdown(str):
    """Text whose markup is meant."""


def text(value: object) -> str:
    """As Markdown that shows `value`, wherever in a paragraph or table it stands."""
    escaped = _MARKUP.sub(r"\\\1", shown(value).strip()).replace("|", "&#124;")
    return _START.sub(r"\1\\", escaped)


def code(value: object) -> Markdown:
    """As a piece of code; backticks, which would end it, and bars, which would end a table's cell, are replaced."""
    return Markdown("`" + (re.sub("[`|]", "'", shown(value)).strip() or " ") + "`")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; cells that are not `Markdown` are taken as plain text."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(str(cell) if isinstance(cell, Markdown) else text(cell) for cell in cells) + " |"

    return "\n".join([line(header), line([Markdown("---")] * len(header)), *map(line, rows)])


def latex(value: object) -> str:
    """As LaTeX that shows `value`."""
    return "".join(_LATEX.get(character, character) for character in shown(value))


def drawn(value: object, *, longest: int = LONGEST) -> str:
    """For matplotlib: no formula, in the order in which it is drawn (from the left), glyphs that the font has, not too long."""
    plain = "".join(c if c.isspace() or ord(c) in _glyphs() else UNKNOWN for c in shown(value))
    short = plain if len(plain) <= longest else plain[: longest - 1] + "…"
    return _from_the_left(short).replace("$", r"\$")


@functools.cache
def _turns_around() -> bool:
    import matplotlib

    return tuple(map(int, matplotlib.__version__.split(".")[:2])) >= (3, 11)


@functools.cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager, ft2font

    return frozenset(ft2font.FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap())


def _from_the_left(line: str) -> str:
    """Words written from the right, turned around as matplotlib does not: letters with their accents, numbers left as they are.

    (It does from 3.11 on, which has a library for it.) A run of such words goes from its first right-to-left letter to its last. Letters are not joined: the font draws them apart.
    """
    strong = [i for i, c in enumerate(line) if unicodedata.bidirectional(c) in ("R", "AL")]
    if not strong or _turns_around():
        return line
    runs = re.finditer(_RUN, "".join(_kind(c) for c in line))
    out, place = [], 0
    for found in runs:
        out.append(line[place : found.start()])
        pieces = re.findall(
            r"[0-9.,:/%-]*[0-9]|.[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]*",
            line[slice(*found.span())],
        )
        out += [_MIRRORED.get(piece, piece) for piece in reversed(pieces)]
        place = found.end()
    return "".join([*out, line[place:]])


_RUN = re.compile("R(?:[RN]*R)?")
_MIRRORED = dict(zip("()[]{}<>«»", ")(][}{><»«"))


def _kind(character: str) -> str:
    """R: from the right; L: from the left; N: goes with what is around it."""
    kind = unicodedata.bidirectional(character)
    return "R" if kind in ("R", "AL") else "L" if kind == "L" else "N"
