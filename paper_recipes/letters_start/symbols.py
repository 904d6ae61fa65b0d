"""The classes that the start was trained on, and the rule they were chosen by.

The list (`symbols.txt`, one code point a line) is kept as data, as the letters' is; `select_symbols` is the rule, and a test shows
that it still gives the list.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

from ports.datasets.glyph_letters import FACES, charmap, look_alikes, read_code_points

MIN_FACES = 6  # a class has at least 6 pictures
CATEGORIES = "SNP"  # Unicode's symbols, numbers and punctuation
# Faces that training never sees: for the accuracy that is reported.
HELD_OUT = ("DejaVuSansMono-Oblique", "STIXGeneralBol")
_LIST = Path(__file__).with_name("symbols.txt")


def load_symbols() -> list[int]:
    """The code points that are classes, in increasing order."""
    return read_code_points(_LIST)


def pictures(*, held_out: bool) -> list[tuple[int, int, str]]:
    """(class from 0, code point, face) of every picture, of the faces held out or of all the others."""
    faces = [face for face in FACES if (face in HELD_OUT) == held_out]
    return [(label, code, face) for label, code in enumerate(load_symbols()) for face in faces if code in charmap(face)]


def select_symbols() -> list[int]:
    """Symbols in 6 or more faces, one of each group of look-alikes, and none of a group that a letter is in. Slow (a minute).

    A letter is any code point of Unicode's category L in any face, so that no class of a letters run, and nothing that looks like
    one, was seen by the start.
    """
    count = Counter(c for face in FACES for c in charmap(face))
    symbols = {c for c, n in count.items() if n >= MIN_FACES and unicodedata.category(chr(c))[0] in CATEGORIES}
    letters = {c for c in count if unicodedata.category(chr(c))[0] == "L"}
    groups, blank = look_alikes(sorted(symbols | letters))
    chosen = [
        max(group, key=lambda c: (count[c], -c))
        for group in groups
        if letters.isdisjoint(group) and not blank & set(group)
    ]
    return sorted(chosen)
