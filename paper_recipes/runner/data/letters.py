"""The letters in the roles that the papers' protocols need: queries and gallery, cameras, tracklets, boxes.

The 16 type faces of a letter play six cameras, in the order of `ports.datasets.glyph_letters.FACES`: three faces each,
the last camera one. The faces of one letter under one camera, in that order, are a tracklet.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from paper_recipes.recipe import Evaluation
from ports.datasets.glyph_letters import FACES
from ports.datasets.split import Split

FACES_PER_CAMERA = 3


def with_cameras(split: Split) -> Split:
    """Cameras 1 to 6 by type face, and a tracklet per letter and camera."""
    faces = list(FACES)
    face = np.array([faces.index(Path(path).stem.split("_", 1)[1]) for path in split.paths])
    order = np.lexsort((face, split.labels))
    split, camera = split.subset(order), 1 + face[order] // FACES_PER_CAMERA
    _, tracks = np.unique(split.labels * 100 + camera, return_inverse=True)
    return replace(split, cameras=camera, tracks=tracks.reshape(-1))


def places(labels: NDArray[Any]) -> NDArray[np.int64]:
    """0, 1, ... within each class, for items in the order of their `labels` (N,)."""
    return np.concatenate([np.arange(count) for count in np.unique(labels, return_counts=True)[1]])


def query_and_gallery(test: Split, evaluation: Evaluation) -> tuple[Split, Split | None]:
    """The test letters as the protocol's queries and gallery; (test, None) where every image is both."""
    if evaluation.protocol == "self":
        return test, None
    if evaluation.protocol == "query-gallery":  # every other picture of a letter is a query
        order = np.argsort(test.labels, kind="stable")
        asks = np.empty(len(test), dtype=bool)
        asks[order] = places(test.labels) % 2 == 0
        return test.subset(asks, "letters/query"), test.subset(~asks, "letters/gallery")
    test = with_cameras(test)
    assert test.cameras is not None
    # A letter's query is what its first camera saw; other cameras are the gallery. (Where the protocol drops what the
    # query's camera saw, as Market-1501 and MARS do, those pictures could stay in the gallery: the result is the same.)
    first = {label: test.cameras[test.labels == label].min() for label in np.unique(test.labels).tolist()}
    asked = np.array([first[label] == camera for label, camera in zip(test.labels.tolist(), test.cameras)])
    return test.subset(asked, "letters/query"), test.subset(~asked, "letters/gallery")


def with_boxes(split: Split) -> Split:
    """The rectangle of ink in each picture, as x, y, width, height from 1 (both ends of it belong to the ink)."""
    boxes = []
    for file in split.files():
        with Image.open(file) as picture:
            left, top, right, bottom = ImageOps.invert(picture.convert("L")).getbbox() or (0, 0, *picture.size)
        boxes.append((left + 1, top + 1, right - left - 1, bottom - top - 1))
    return replace(split, boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4))
