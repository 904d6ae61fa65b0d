"""Training pictures of the symbols: drawn anew every time, on the letters' paper and in their light, and seen as the recipes see theirs.

Half of them lose the white border, as the Stanford Online Products and CUB scripts take it away, and half are padded to a
square, as those do; the others are squeezed into one, as the PyTorch recipes' crops are. A third is turned and sheared a little. No
mirroring: it would make one class of another (arrows, brackets).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ports.datasets.glyph_drawing import PAGE, picture, render

_SIZES = 6  # font sizes in training: an open font each
_BORDER = 15  # pixels of paper or page that stay around the ink's sheet, as in the recipes
_WHITE = PAGE - 250  # darker than that much below the page is no border, as in the recipes

Fonts = dict[Any, Any]


def training_picture(
    rng: np.random.Generator, code_point: int, face: str, size: int, fonts: Fonts | None = None
) -> NDArray[np.uint8]:
    """(size, size) grey levels of one training picture."""
    u = rng.random(13)
    u[0] = int(u[0] * _SIZES) / _SIZES
    image = picture(code_point, face, u.tolist(), fonts)
    if rng.random() < 1 / 3:
        image = _turned(image, float(rng.normal(0, 6)), float(rng.normal(0, 0.1)))
    if rng.random() < 0.5:
        image = _without_border(image)
    if rng.random() < 0.5:
        image = _square(image)
    return _crop(rng, image, size)


def test_picture(code_point: int, face: str, size: int, fonts: Fonts | None = None) -> NDArray[np.uint8]:
    """(size, size) grey levels of the one picture that the letters' own rule draws, its border cut, padded to a square."""
    image = _square(_without_border(render(code_point, face, fonts)))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def batch(
    seed: Sequence[int], chosen: Sequence[tuple[int, int, str]], size: int, fonts: Fonts
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures (N, size, size) and classes (N,) of (class, code point, face) triples; `seed` decides all that is random."""
    rng = np.random.default_rng(seed)
    images = np.stack([training_picture(rng, code, face, size, fonts) for _, code, face in chosen])
    return images, np.array([label for label, _, _ in chosen])


def _turned(image, degrees: float, shear: float):
    """Turned and sheared about the middle, on a page as large as before."""
    (width, height), angle = image.size, np.deg2rad(degrees)
    a, b, d, e = np.cos(angle), np.sin(angle) + shear, -np.sin(angle), np.cos(angle)
    x, y = width / 2, height / 2
    data = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=PAGE)


def _without_border(image):
    box = ImageOps.invert(image).point(lambda level: 255 * (level > _WHITE)).getbbox()
    if box is None:
        return image
    left, top, right, bottom = box
    width, height = image.size
    return image.crop(
        (max(left - _BORDER, 0), max(top - _BORDER, 0), min(right + _BORDER, width), min(bottom + _BORDER, height))
    )


def _square(image):
    side = max(image.size)
    square = Image.new("L", (side, side), PAGE)
    square.paste(image, ((side - image.size[0]) // 2, (side - image.size[1]) // 2))
    return square


def _crop(rng: np.random.Generator, image, size: int) -> NDArray[np.uint8]:
    """A part of 70 to 100 % of the area, of 3:4 to 4:3 of its form, as (size, size)."""
    width, height = image.size
    scale, form = np.sqrt(rng.uniform(0.7, 1)), np.exp(rng.uniform(-0.29, 0.29) / 2)
    w, h = min(width * scale * form, width), min(height * scale / form, height)
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    part = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
    return np.asarray(part)
