"""File to network input in one call, with errors that name the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from ports.images.decoding import ImageError, decode
from ports.images.draws import Rng

__all__ = ["Pipeline", "load"]


class Pipeline(Protocol):
    """From a picture, uint8 RGB (H, W, 3), to a network's input, float32 (3, height, width).

    Pipelines that cut a box out first (OsmResize) take it as `box`.
    """

    def train(self, image: NDArray[Any], rng: Rng) -> NDArray[Any]:
        """As in training; all randomness comes from `rng`."""

    def test(self, image: NDArray[Any]) -> NDArray[Any]:
        """As in tests, where nothing is random."""


def load(
    path: str | os.PathLike[str],
    pipeline: Pipeline,
    rng: Rng | None = None,
    *,
    box: Sequence[float] | None = None,
    sha256: bytes | None = None,
) -> NDArray[Any]:
    """`decode(path)`, then `pipeline.train(image, rng)`, or `pipeline.test(image)` where no rng is given.

    Args:
        box: passed on to pipelines that take one (OsmResize).
        sha256: of the file, 32 bytes; another file is refused.

    Raises:
        ImageError: also where the picture is readable but the pipeline refuses it (blank, box outside).
    """
    image = decode(path, sha256=sha256, writeable=False)
    options: dict[str, Any] = {} if box is None else {"box": box}
    try:
        return pipeline.test(image, **options) if rng is None else pipeline.train(image, rng, **options)
    except ValueError as error:
        raise ImageError(path, str(error)) from error
