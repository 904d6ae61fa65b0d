"""Small pictures at their points in a drawn map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image

from ports.images.decoding import ImageError, decode

#: Inches: the longer side of a picture where there is room for it.
LARGEST = 0.42


def put(fig: Any, axes: Axes, points: NDArray[Any], files: Sequence[str], colours: Sequence[Any]) -> int:
    """Draw the pictures of `files` centred at `points` (M, 2), in data units of `axes`, each framed in its colour.

    All are as large as the two nearest points allow, frames included, and at most `LARGEST`. Returns how many could be read.
    """
    fig.draw_without_rendering()  # the layout: where the axes lie
    fig.set_layout_engine("none")
    centres = axes.transData.transform(points).reshape(-1, 2)
    side = min(LARGEST * fig.dpi, _nearest(centres)) - 3  # pixels; the frame's two sides and a gap of one
    drawn = 0
    for centre, file, colour in zip(centres, files, colours):
        picture = _small(file, 2 * side)  # finer than the screen: the figure is saved at more dots per inch
        if picture is None:
            continue
        size = np.array(picture.shape[1::-1]) * side / max(picture.shape[:2])
        low, extent = (centre - size / 2) / fig.bbox.size, size / fig.bbox.size
        spot = fig.add_axes((*low, *extent), xticks=[], yticks=[], label=f"picture {drawn}")
        spot.imshow(picture, aspect="auto")
        spot.spines[:].set(color=colour, linewidth=1.5)
        drawn += 1
    return drawn


def _nearest(centres: NDArray[Any]) -> float:
    """Smallest distance of two centres, the larger of those along the axes; infinite of fewer than two."""
    away = np.abs(centres[:, None] - centres[None]).max(2) + np.diag(np.full(len(centres), np.inf))
    return float(away.min(initial=np.inf))


def _small(file: str, longest: float) -> NDArray[Any] | None:
    """The picture (height, width, 3), its longer side at most `longest` pixels; None where it cannot be read."""
    try:
        picture = Image.fromarray(decode(file))
    except ImageError:
        return None
    picture.thumbnail((max(int(longest), 1),) * 2)
    return np.asarray(picture)
