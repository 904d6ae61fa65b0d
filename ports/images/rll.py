"""The three preprocessings of the RLL releases (process_ori_image_aug_v02/_v03.m, _v04_21042020.m).

All end in Caffe's input: BGR minus 104 / 117 / 123, no scaling. The (width, height, channel) array that the scripts hand
to Caffe is, column-major as MATLAB stores it, byte for byte the (channel, height, width) array returned here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.images.draws import Rng, matlab_crop, uniform
from ports.matlab import GRAY_WEIGHTS, imcrop, imresize, output_size, resize_weights

__all__ = ["CAFFE_MEAN", "RllSop", "RllV03", "RllV04", "caffe_input", "dark_box"]

CAFFE_MEAN = (104.0, 117.0, 123.0)  # blue, green, red


def caffe_input(image: NDArray[Any]) -> NDArray[Any]:
    """RGB (H, W, 3) or any (H, W, 3) view, values 0..255 -> float32 BGR (3, H, W) minus the mean."""
    out = np.empty((3, *image.shape[:2]), np.float32)
    for c in range(3):
        np.subtract(image[:, :, 2 - c], np.float32(CAFFE_MEAN[c]), out=out[c])
    return out


def _dark(pixels: NDArray[Any], white: int) -> NDArray[Any]:
    """Whether the grey value is below `white`: rgb2gray rounds half up, so that is the same as sum + 0.5 < white."""
    red, green, blue = GRAY_WEIGHTS
    return red * pixels[..., 0] + green * pixels[..., 1] + blue * pixels[..., 2] + 0.5 < white


def _first_dark(image: NDArray[Any], white: int, axis: int, reverse: bool) -> int | None:
    """Index of the outermost row (axis 0) or column (axis 1) that holds a pixel with grey value below `white`."""
    n = image.shape[axis]
    begin, size = 0, 2
    while begin < n:
        end = min(begin + size, n)
        low, high = (n - end, n - begin) if reverse else (begin, end)
        strip = image[low:high] if axis == 0 else image[:, low:high]
        found = np.flatnonzero(_dark(strip, white).any(axis=1 - axis))
        if found.size:
            return low + int(found[-1 if reverse else 0])
        begin, size = end, min(2 * size, 64)
    return None


def dark_box(image: NDArray[Any], white: int = 250) -> tuple[int, int, int, int] | None:
    """0-based (top, bottom, left, right), inclusive, around all pixels whose grey value is below `white`; None if none.

    Looks from the border inwards and stops at the first hit, which on a photograph is at once: two opposite corners touch all sides.
    """
    if image.size and _dark(image[0, 0], white) and _dark(image[-1, -1], white):
        return 0, image.shape[0] - 1, 0, image.shape[1] - 1
    top = _first_dark(image, white, 0, False)
    if top is None:
        return None
    bottom = _first_dark(image, white, 0, True)
    left = _first_dark(image, white, 1, False)
    right = _first_dark(image, white, 1, True)
    assert bottom is not None and left is not None and right is not None
    return top, bottom, left, right


@dataclass(frozen=True)
class RllV03:
    """White-border crop, long side to `square`, white padding, flip, `crop` x `crop` (process_ori_image_aug_v03.m).

    Used by the CVPR'19 CUB and the TPAMI Market-1501 scripts. Random numbers in train: flip, row, column.
    """

    crop: int = 227
    padding: int = 15
    square: int = 256  # 0 leaves the size alone
    white: int = 250

    def border_crop(self, image: NDArray[Any]) -> NDArray[Any]:
        """The part with grey < `white`, widened by `padding`.

        The scripts pass xmax - xmin + 1 as imcrop's width, which imcrop counts between pixel centres: one column and
        one row more than meant, cut off at the image's edge. xmin and ymin may be 0, outside the 1-based image.

        Raises:
            ValueError: no pixel is darker than `white` (the script stops at imcrop with an empty rectangle).
        """
        box = dark_box(image, self.white)
        if box is None:
            raise ValueError(f"the picture is blank: no pixel has a grey value below {self.white}")
        top, bottom, left, right = (v + 1 for v in box)
        xmin, xmax = max(0, left - self.padding), min(image.shape[1], right + self.padding)
        ymin, ymax = max(0, top - self.padding), min(image.shape[0], bottom + self.padding)
        return imcrop(image, [xmin, ymin, xmax - xmin + 1, ymax - ymin + 1])

    def squared(self, image: NDArray[Any]) -> NDArray[Any]:
        """Border crop, resize and padding: float32 (square, square, 3), RGB, 0..255 with bicubic overshoot."""
        cropped = self.border_crop(image)
        height, width = cropped.shape[:2]
        single = cropped.astype(np.float32)
        if self.square <= 0:
            return single
        if height == width:
            return imresize(single, (self.square, self.square))
        size = (self.square, None) if height > width else (None, self.square)
        return _resize_and_pad(single, size, self.square)

    def train(self, image: NDArray[Any], rng: Rng) -> NDArray[Any]:
        """uint8 RGB (H, W, 3) -> float32 BGR minus mean (3, crop, crop), flipped with p = 0.5, random place."""
        square = self.squared(image)
        if rng.random() < 0.5:
            square = square[:, ::-1]
        row, column = rng.random(), rng.random()
        return caffe_input(matlab_crop(square, self.crop, self.crop, row, column))

    def test(self, image: NDArray[Any]) -> NDArray[Any]:
        """The centre crop (0-based offset 14 for 256 -> 227)."""
        return caffe_input(matlab_crop(self.squared(image), self.crop, self.crop, 0.5, 0.5))


@dataclass(frozen=True)
class RllSop(RllV03):
    """The CVPR'19 SOP preprocessing (process_ori_image_aug_v02.m): v03 with the crop of 227 written into the script."""


def _resize_and_pad(image: NDArray[Any], size: tuple[int | None, int | None], square: int) -> NDArray[Any]:
    """imresize(image, size), then padarray with 255, the smaller half first.

    The same two products as `imresize`; they end in the padded (column, channel, row) canvas at once, which saves
    three copies of the picture.
    """
    (rows, columns), (scale, _) = output_size(image.shape, size)
    first = resize_weights(image.shape[0], rows, scale, dtype="float32") @ image.reshape(image.shape[0], -1)
    turned = np.ascontiguousarray(first.T)  # (column and channel, row)
    second = resize_weights(image.shape[1], columns, scale, dtype="float32") @ turned.reshape(image.shape[1], -1)
    resized = second.reshape(columns, 3, rows)
    canvas = np.full((square, 3, square), 255, np.float32)
    above, before = (square - rows) // 2, (square - columns) // 2
    canvas[before : before + columns, :, above : above + rows] = resized
    return canvas.transpose(2, 0, 1)


@dataclass(frozen=True)
class RllV04:
    """The TPAMI SOP and In-shop preprocessing (process_ori_image_aug_v04_21042020.m).

    Stretch to `square` x `square`; train: crop with random side and aspect, stretch to `crop`; test: centre crop.
    `scale` multiplies a *side* (torchvision's RandomResizedCrop scale is an area). The script ignores its flip_prob
    argument; 0.5 is written into it. Random numbers in train: aspect, scale, flip, row, column.
    """

    crop: int = 227
    square: int = 256
    scale: tuple[float, float] = (0.5, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def draw_size(self, rng: Rng) -> tuple[int, int]:
        """Height and width of the random crop; a side that would reach the full square is cut to one pixel less."""
        ratio = uniform(rng, *self.aspect)  # height / width
        scale = uniform(rng, *self.scale)
        height, width = math.floor(self.square * scale * ratio), math.floor(self.square * scale)
        if height >= self.square:
            height = self.square - 1
            width = math.floor(height / ratio)
        if width >= self.square:
            width = self.square - 1
            height = math.floor(width * ratio)
        return height, width

    def train(self, image: NDArray[Any], rng: Rng) -> NDArray[Any]:
        """uint8 RGB (H, W, 3) -> float32 BGR minus mean (3, crop, crop)."""
        stretched = imresize(image.astype(np.float32), (self.square, self.square))
        height, width = self.draw_size(rng)
        if rng.random() < 0.5:
            stretched = stretched[:, ::-1]
        row, column = rng.random(), rng.random()
        return caffe_input(imresize(matlab_crop(stretched, height, width, row, column), (self.crop, self.crop)))

    def test(self, image: NDArray[Any]) -> NDArray[Any]:
        stretched = imresize(image.astype(np.float32), (self.square, self.square))
        return caffe_input(matlab_crop(stretched, self.crop, self.crop, 0.5, 0.5))
