"""Pipelines of the papers whose code uses torchvision's PIL transforms.

Written with Pillow and NumPy alone, because torchvision draws from torch's global generator, which cannot be seeded per
picture. Given the same random numbers the results equal those of torchvision's transforms on PIL images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ports.images.draws import Rng, integer, uniform

__all__ = ["Classification", "DeepMetric", "MultiSimilarity", "Xbm", "random_resized_box"]

Box = tuple[int, int, int, int]  # top, left, height, width

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# 128 for the third value, where Caffe's mean is 123: as the MS and Deep_Metric code has it.
BGR_MEAN = (104 / 255, 117 / 255, 128 / 255)
BGR_STD = (1 / 255, 1 / 255, 1 / 255)


def random_resized_box(
    height: int, width: int, rng: Rng, scale: tuple[float, float], ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Box:
    """torchvision's RandomResizedCrop.get_params: up to ten tries at an area share and an aspect, else a centre crop.

    Random numbers of each try: area, aspect; then row and column of the accepted one.
    """
    for _ in range(10):
        area = height * width * uniform(rng, *scale)
        aspect = math.exp(uniform(rng, math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = integer(rng, height - h + 1)
            return top, integer(rng, width - w + 1), h, w
    if width / height < ratio[0]:
        h, w = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        h, w = height, round(height * ratio[1])
    else:
        h, w = height, width
    return (height - h) // 2, (width - w) // 2, h, w


def short_side(picture: Image.Image, size: int) -> Image.Image:
    """torchvision's Resize(size): the shorter side becomes `size`, the longer is rounded down; bilinear."""
    width, height = picture.size
    if min(width, height) == size:
        return picture
    new = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    return picture.resize(new, Image.Resampling.BILINEAR)


def centre_crop(picture: Image.Image, size: int) -> Image.Image:
    """torchvision's CenterCrop; halves are rounded to even, 256 -> 227 starts at 14."""
    left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
    return picture.crop((left, top, left + size, top + size))


def normalise(
    picture: Image.Image, mean: tuple[float, ...], std: tuple[float, ...], bgr: bool, flip: bool = False
) -> NDArray[Any]:
    """ToTensor and Normalize in torch's order of float32 operations: x / 255, minus mean, divided by std."""
    pixels = np.asarray(picture)
    if flip:
        pixels = pixels[:, ::-1]
    if bgr:
        pixels = pixels[:, :, ::-1]
    out = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    out /= np.float32(255)
    out -= np.array(mean, np.float32)[:, None, None]
    out /= np.array(std, np.float32)[:, None, None]
    return out


@dataclass(frozen=True)
class _ResizedCrop:
    """Resize the short side, RandomResizedCrop, flip; test: centre crop. Drawn: the crop's numbers, then the flip."""

    crop: int
    scale: tuple[float, float]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool
    resize: int = 256

    def train(self, image: NDArray[Any], rng: Rng) -> NDArray[Any]:
        """uint8 RGB (H, W, 3) -> float32 (3, crop, crop)."""
        picture = short_side(Image.fromarray(image), self.resize)
        top, left, height, width = random_resized_box(picture.height, picture.width, rng, self.scale)
        cut = picture.crop((left, top, left + width, top + height))
        cut = cut.resize((self.crop, self.crop), Image.Resampling.BILINEAR)
        return normalise(cut, self.mean, self.std, self.bgr, flip=rng.random() < 0.5)

    def test(self, image: NDArray[Any]) -> NDArray[Any]:
        picture = centre_crop(short_side(Image.fromarray(image), self.resize), self.crop)
        return normalise(picture, self.mean, self.std, self.bgr)


@dataclass(frozen=True)
class MultiSimilarity(_ResizedCrop):
    """research-ms-loss configs/example.yaml: BGR, 104 / 117 / 128, crop of 227 with 16 % to 100 % of the area.

    Values are x - mean up to float32 rounding: the code divides by 255 first and by std = 1/255 last.
    """

    crop: int = 227
    scale: tuple[float, float] = (0.16, 1.0)
    mean: tuple[float, float, float] = BGR_MEAN
    std: tuple[float, float, float] = BGR_STD
    bgr: bool = True


@dataclass(frozen=True)
class DeepMetric(MultiSimilarity):
    """Deep_Metric DataSet/CUB200.py at HEAD: the same numbers as the MS code (the 2018 scripts cropped 224)."""


@dataclass(frozen=True)
class Xbm(_ResizedCrop):
    """research-xbm configs/sample_config.yaml: RGB, ImageNet mean and std, crop of 224 with 20 to 100 % of the area."""

    crop: int = 224
    scale: tuple[float, float] = (0.2, 1.0)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    bgr: bool = False


@dataclass(frozen=True)
class Classification:
    """classification_metric_learning: stretch to 256 x 256, random 224 crop, flip; RGB, ImageNet mean and std.

    Random numbers in train: row, column, flip.
    """

    crop: int = 224
    resize: int = 256

    def _stretched(self, image: NDArray[Any]) -> Image.Image:
        return Image.fromarray(image).resize((self.resize, self.resize), Image.Resampling.BILINEAR)

    def train(self, image: NDArray[Any], rng: Rng) -> NDArray[Any]:
        picture = self._stretched(image)
        top = integer(rng, self.resize - self.crop + 1)
        left = integer(rng, self.resize - self.crop + 1)
        cut = picture.crop((left, top, left + self.crop, top + self.crop))
        return normalise(cut, IMAGENET_MEAN, IMAGENET_STD, bgr=False, flip=rng.random() < 0.5)

    def test(self, image: NDArray[Any]) -> NDArray[Any]:
        return normalise(centre_crop(self._stretched(image), self.crop), IMAGENET_MEAN, IMAGENET_STD, bgr=False)
