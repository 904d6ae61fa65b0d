"""Preprocessing of the OSM+CAA release (process_image.m, process_box_image_v2.m, process_image_*cutout.m)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ports.images.draws import Rng, integer, matlab_crop
from ports.images.rll import caffe_input
from ports.matlab import imresize

__all__ = ["OsmResize", "OsmTracklet", "corners", "crop_box"]


def corners(boxes: NDArray[Any] | Sequence[float]) -> NDArray[Any]:
    """Boxes x, y, width, height as a `Split` holds them, (4,) or (N, 4) -> x1, y1, x2, y2, both ends included.

    x2 = x + width: exact for CARS196, whose reader takes the width as x2 - x1. For CUB's bounding_boxes.txt it is MATLAB's
    reading of such a rectangle (imcrop); how the release cut CUB's boxes is not recorded.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def crop_box(image: NDArray[Any], box: Sequence[float]) -> NDArray[Any]:
    """Cut an annotated box [x1 y1 x2 y2], 1-based and inclusive (CARS196's devkit), out of (H, W, 3).

    A box that reaches one pixel over an edge (a 0-based corner, or a width counted to the far side) ends at the edge, as
    imcrop would have it; the release's own indexing stops with an error there.

    Raises:
        ValueError: the box is not whole-numbered, is empty, or leaves the image by more than that pixel.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    height, width = image.shape[:2]
    whole = all(v.is_integer() for v in (x1, y1, x2, y2))
    if not (whole and 0 <= x1 <= x2 <= width + 1 and 0 <= y1 <= y2 <= height + 1):
        raise ValueError(f"box {[x1, y1, x2, y2]} is not a whole-numbered 1-based box inside {width}x{height} pixels")
    cut = image[max(int(y1), 1) - 1 : int(y2), max(int(x1), 1) - 1 : int(x2)]
    if cut.size == 0:
        raise ValueError(f"box {[x1, y1, x2, y2]} holds no pixel of an image of {width}x{height}")
    return cut


@dataclass(frozen=True)
class OsmResize:
    """Stretch to `size` x `size`, BGR minus mean: all that CUB and CARS196 training and testing do.

    The release trains without any augmentation (its flip and cutout scripts are not called), so `train` draws nothing.
    With a box the annotated object is cut out first, the "bbox" variants.
    """

    size: int = 224

    def train(self, image: NDArray[Any], rng: Rng | None = None, box: Sequence[float] | None = None) -> NDArray[Any]:
        return self.test(image, box)

    def test(self, image: NDArray[Any], box: Sequence[float] | None = None) -> NDArray[Any]:
        """uint8 RGB (H, W, 3) -> float32 BGR minus mean (3, size, size)."""
        if box is not None:
            image = crop_box(image, box)
        return caffe_input(imresize(image.astype(np.float32), (self.size, self.size)))


def _cut_out(image: NDArray[Any], rng: Rng) -> None:
    """Fill a random rectangle with noise, in place (img_cut_out.m; drawn: height, width, row, column, the noise)."""
    height, width = image.shape[:2]
    min_height, min_width = 10, 5
    cut_height = min_height + math.ceil(rng.random() * (math.ceil(height / 12) - 1 - min_height))
    cut_width = min_width + math.ceil(rng.random() * (math.ceil(width / 6) - 1 - min_width))
    top = max(math.ceil(rng.random() * (height - cut_height)), 1) - 1
    left = max(math.ceil(rng.random() * (width - cut_width)), 1) - 1
    # h_start : h_start + cut_h includes both ends, one row and one column more than the names say
    hole = image[top : top + cut_height + 1, left : left + cut_width + 1]
    noise = np.array([rng.random() for _ in range(hole.size)]).reshape(hole.shape, order="F")
    hole[...] = np.floor(noise * 256)


@dataclass(frozen=True)
class OsmTracklet:
    """One frame of a MARS or LPW tracklet.

    `augmentation`: "none", what the training scripts call (process_image.m); "flip_cutout" and
    "scale_crop_flip_cutout" are the two scripts that lie unused beside it (flip and cutout each with 1 in 8 / 1 in 5;
    height scaled to 452..511, crop of 224). Their randperm(n, 1) is one draw here, not MATLAB's own stream.
    """

    size: int = 224
    augmentation: Literal["none", "flip_cutout", "scale_crop_flip_cutout"] = "none"

    def __post_init__(self) -> None:
        if self.augmentation not in ("none", "flip_cutout", "scale_crop_flip_cutout"):
            raise ValueError(f"augmentation {self.augmentation!r}: none, flip_cutout or scale_crop_flip_cutout")

    def train(self, image: NDArray[Any], rng: Rng) -> NDArray[Any]:
        if self.augmentation == "none":
            return self.test(image)
        frame = image.astype(np.float32)
        odds = 8
        if self.augmentation == "scale_crop_flip_cutout":
            odds = 5
            height = integer(rng, 60) + 452
            width = math.ceil(np.float32(frame.shape[1]) * (np.float32(height) / np.float32(frame.shape[0])))
            frame = imresize(frame, (height, width))
            row, column = rng.random(), rng.random()
            frame = matlab_crop(frame, self.size, self.size, row, column).copy()
        if integer(rng, odds) == 0:
            frame = np.ascontiguousarray(frame[:, ::-1])
        if integer(rng, odds) == 0:
            _cut_out(frame, rng)
        return caffe_input(imresize(frame, (self.size, self.size)))

    def test(self, image: NDArray[Any]) -> NDArray[Any]:
        return OsmResize(self.size).test(image)
