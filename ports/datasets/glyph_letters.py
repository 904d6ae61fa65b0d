"""Which code points and faces make up the letters, and the rule they were chosen by.

The list itself (`letters.txt`, one code point a line) is kept as data, so that another Unicode table or font version
cannot silently change the classes; `select_letters` is the rule, and a test shows that it still gives the list.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.datasets.split import DatasetError

# All text faces that matplotlib ships: DejaVu 2.37 and STIX 1.1. Left out on purpose: LastResort (a box for every code
# point), the display cuts, the STIX symbol and size fonts, and Computer Modern, whose code points are not Unicode's.
FACES = (
    *(f"DejaVuSans{style}" for style in ("", "-Oblique", "-Bold", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Oblique", "-Bold", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Italic", "-Bold", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Italic", "Bol", "BolIta")),
)
MIN_FACES = 12  # a class has at least 12 images
SCRIPTS = ("latin", "greek", "cyrillic", "armenian", "georgian", "modifier", "letterlike")  # super-classes 1 .. 7
_SHAPE = 32  # side in pixels at which shapes are compared
_ALIKE = 0.01  # two shapes are the same when they differ by less than this share of their ink (squared)
_LIST = Path(__file__).with_name("letters.txt")


def face_file(face: str) -> Path:
    """The .ttf file of a face, from the installed matplotlib."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    if not path.is_file():
        raise DatasetError(f"{path}: matplotlib {matplotlib.__version__} lacks this face; the letters need it")
    return path


@cache
def charmap(face: str) -> frozenset[int]:
    """Code points that a face has a glyph for (glyph 0, the missing-glyph box, does not count)."""
    from matplotlib.ft2font import FT2Font

    return frozenset(c for c, glyph in FT2Font(str(face_file(face))).get_charmap().items() if glyph != 0)


def read_code_points(file: Path) -> list[int]:
    """Of a list: one a line, hexadecimal, beside lines of comment."""
    lines = file.read_text(encoding="ascii").splitlines()
    return [int(line, 16) for line in lines if line and not line.startswith("#")]


def load_letters() -> list[int]:
    """The code points that are classes, in increasing order."""
    return read_code_points(_LIST)


def script(code_point: int) -> str:
    """Super-class of a letter: the first word of its Unicode name, the few odd ones together as "letterlike"."""
    word = unicodedata.name(chr(code_point)).split()[0].lower()
    return word if word in SCRIPTS else "letterlike"


def tight(font, code_point: int):
    """A glyph's ink as a PIL image of mode L (255 = full ink) without blank margins; None where it has no ink."""
    from PIL import Image

    mask = font.getmask(chr(code_point), mode="L")
    if 0 in mask.size:
        return None
    # Pillow's own way from its core to an image. The public one, bytes(mask), goes through Python numbers: as long as all the rest.
    image = Image.Image()._new(mask)
    box = image.getbbox()
    return None if box is None else image.crop(box)


def _shape(image) -> NDArray[Any]:
    """(32 * 32,) int64 grey levels: the glyph scaled to fit a square, so that size and position do not count."""
    from PIL import Image

    scale = _SHAPE / max(image.size)
    size = (max(1, round(image.size[0] * scale)), max(1, round(image.size[1] * scale)))
    square = Image.new("L", (_SHAPE, _SHAPE))
    square.paste(image.resize(size, Image.Resampling.BOX), ((_SHAPE - size[0]) // 2, (_SHAPE - size[1]) // 2))
    return np.asarray(square, dtype=np.float64).reshape(-1)


def look_alikes(code_points: Sequence[int]) -> tuple[list[list[int]], set[int]]:
    """Groups of code points whose shapes agree in any face, and those that some face draws blank or as a missing glyph.

    Identical shapes (Latin A, Greek Alpha, Cyrillic A) agree, and those that are the same but for size or a rounding (Latin L
    and Armenian Liwn). Slow: half a minute for the letters.
    """
    from PIL import ImageFont

    leader = {c: c for c in code_points}

    def find(c: int) -> int:
        while leader[c] != c:
            c = leader[c]
        return c

    blank = set()
    for face in FACES:
        font = ImageFont.truetype(str(face_file(face)), 96, layout_engine=ImageFont.Layout.BASIC)
        missing = tight(font, 0x10FFFE)  # a code point that no font can have: what a missing glyph looks like here
        drawn = {}
        for c in code_points:
            if c in charmap(face):
                image = tight(font, c)
                if image is None or image == missing:
                    blank.add(c)
                else:
                    drawn[c] = _shape(image)
        codes = sorted(drawn)
        shapes = np.stack([drawn[c] for c in codes])  # whole numbers below 2^53 throughout: exact on every machine
        ink = (shapes**2).sum(axis=1)
        difference = ink[:, None] + ink[None, :] - 2 * (shapes @ shapes.T)
        alike = np.triu(difference < _ALIKE * np.minimum(ink[:, None], ink[None, :]), 1)
        for i, j in np.argwhere(alike):
            a, b = find(codes[i]), find(codes[j])
            leader[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for c in code_points:
        groups.setdefault(find(c), []).append(c)
    return list(groups.values()), blank


def select_letters() -> list[int]:
    """Letters in 12 or more faces, the lowest code point of each group of look-alikes. Slow (half a minute)."""
    count = Counter(c for face in FACES for c in charmap(face))
    letters = sorted(c for c, n in count.items() if n >= MIN_FACES and unicodedata.category(chr(c)).startswith("L"))
    groups, blank = look_alikes(letters)
    return [group[0] for group in groups if group[0] not in blank]
