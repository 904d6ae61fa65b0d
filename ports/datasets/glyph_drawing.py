"""One picture of the letters: what is drawn, pixel by pixel, and its file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.datasets.glyph_letters import face_file, tight
from ports.datasets.split import DatasetError

FORMAT = 2  # part of every image's seed: raise it when the rendering rule changes
EM = (80, 130)  # font size in pixels
LONGEST = 180  # the ink's longer side is at most so many pixels (ligatures are drawn smaller)
EDGE = (4, 16)  # paper around the ink in pixels, each side for itself
MARGIN = (5, 60)  # white page around the sheet, each side for itself
BRIGHT, DIM = 245, (60, 140)  # grey level of the paper at its best and worst lit corner
INK = (10, 40)  # how much light the strokes reflect, in percent of the paper's
PAGE = 255


def draws(code_point: int, face: str) -> list[float]:
    """Thirteen numbers in [0, 1) that belong to this image whatever else is drawn."""
    digest = hashlib.shake_256(f"glyphs/{FORMAT}/{code_point:04x}/{face}".encode()).digest(52)
    return [int.from_bytes(digest[4 * i : 4 * i + 4], "big") / 2**32 for i in range(13)]


def _between(u: float, limits: tuple[int, int]) -> int:
    return limits[0] + int(u * (limits[1] - limits[0] + 1))


def name_of(path: str) -> tuple[int, str]:
    """(code point, face) of a picture's path."""
    code, face = Path(path).stem.split("_", 1)
    return int(code, 16), face


def render(code_point: int, face: str, fonts: dict[Any, Any] | None = None):
    """One image of the set as a PIL image of mode L. `fonts` caches font objects between calls."""
    return picture(code_point, face, draws(code_point, face), fonts)


def picture(code_point: int, face: str, u: Sequence[float], fonts: dict[Any, Any] | None = None):
    """A glyph on its sheet as a PIL image of mode L; `u`, thirteen numbers in [0, 1), decides size, place and light."""
    from PIL import Image, ImageFont

    fonts = {} if fonts is None else fonts
    size = _between(u[0], EM)
    while True:
        if (face, size) not in fonts:
            # BASIC: the other engine (raqm) is not in every build of Pillow and shapes differently.
            fonts[face, size] = ImageFont.truetype(str(face_file(face)), size, layout_engine=ImageFont.Layout.BASIC)
        ink = tight(fonts[face, size], code_point)
        if ink is None:
            raise DatasetError(f"{face_file(face)}: no glyph for U+{code_point:04X}; the letters need it")
        if max(ink.size) <= LONGEST:
            break
        size -= 1 + size // 8
    left, right, top, bottom = (_between(v, EDGE) for v in u[1:5])
    light = _light(top + ink.height + bottom, left + ink.width + right, u[5], u[6], _between(u[7], DIM))
    reflected = np.divide(ink, 255)  # of the paper's light, where there is ink
    reflected *= 1 - _between(u[8], INK) / 100
    np.subtract(1, reflected, out=reflected)
    light[top : top + ink.height, left : left + ink.width] *= reflected
    light += 0.5  # to the nearest grey level, as the conversion to whole numbers cuts off
    (height, width), (left, right, top, bottom) = light.shape, (_between(v, MARGIN) for v in u[9:])
    page = np.full((top + height + bottom, left + width + right), PAGE, np.uint8)
    page[top : top + height, left : left + width] = light
    return Image.fromarray(page)


def _light(height: int, width: int, u: float, v: float, dim: int) -> NDArray[Any]:
    """(height, width) grey levels that rise evenly from `dim` to BRIGHT in the direction (u, v), 1/2 being the middle."""
    x = (u - 0.5) * (2 * np.arange(width) - width) / width
    y = (v - 0.5) * (2 * np.arange(height) - height) / height
    ramp = x[None, :] + y[:, None]
    low, high = x.min() + y.min(), x.max() + y.max()  # the ramp's: rounding keeps the order
    ramp -= low
    ramp *= BRIGHT - dim
    ramp /= max(high - low, 1e-9)
    ramp += dim
    return ramp


def digest(path: str, image) -> bytes:
    """sha256 of a picture: its path, size, mode and pixels."""
    return hashlib.sha256(f"{path} {image.size} {image.mode}\n".encode() + image.tobytes()).digest()


class Drawer:
    """Draws pictures below a folder. Eight threads only wait for the disk (creating 18,000 files); drawing stays in the caller's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pool = folder, ThreadPoolExecutor(8)
        self.face, self.fonts = "", dict[Any, Any]()

    def __enter__(self) -> Drawer:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def draw(self, paths: Sequence[str]) -> list[bytes]:
        """Write pictures of one face; their digests. Raises what saving raised, such as OSError of a full disk."""
        saving, digests = [], []
        for path in paths:
            code, face = name_of(path)
            if face != self.face:  # a face at a time: at most 111 open fonts
                self.face, self.fonts = face, {}
            image = render(code, face, self.fonts)
            digests.append(digest(path, image))
            saving.append(self.pool.submit(image.save, self.folder / path, compress_level=1))
        for job in saving:
            job.result()
        return digests
