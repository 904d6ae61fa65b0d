"""Random draws and crop positions that the pipelines share."""

from __future__ import annotations

import math
from typing import Any, Protocol

from numpy.typing import NDArray


class Rng(Protocol):
    def random(self) -> float:
        """A double in [0, 1)."""


def matlab_start(u: float, size: int, crop: int) -> int:
    """0-based start of a crop as the releases compute it (img_random_crop.m, img_center_crop.m).

    They take ceil(u * (size - crop)) as a *1-based* index, so of the size - crop + 1 possible places the last is never
    used (256 -> 227: 29 of 30), and u = 0.5, the centre crop, sits at 0-based 14. Where the crop is as large as the
    image their index is 0 and MATLAB stops with an error; here it is the whole image.
    """
    return max(math.ceil(u * (size - crop)), 1) - 1


def matlab_crop(image: NDArray[Any], height: int, width: int, u_row: float, u_column: float) -> NDArray[Any]:
    """Crop (height, width) from (H, W, ...) at the places that the two numbers choose; 0.5, 0.5 is the centre."""
    if height > image.shape[0] or width > image.shape[1]:
        raise ValueError(f"cannot crop {height}x{width} from an image of {image.shape[0]}x{image.shape[1]}")
    top = matlab_start(u_row, image.shape[0], height)
    left = matlab_start(u_column, image.shape[1], width)
    return image[top : top + height, left : left + width]


def integer(rng: Rng, n: int) -> int:
    """A whole number in [0, n)."""
    return min(int(rng.random() * n), n - 1)


def uniform(rng: Rng, low: float, high: float) -> float:
    return low + (high - low) * rng.random()
