"""What the publishers say is in each data set: the one table that readers check against.

(images, classes) per split; for MARS and LPW, whose items are tracklets, see the remarks.
"""

from __future__ import annotations

import numpy as np

from ports.datasets.split import DatasetError, Split

COUNTS: dict[str, dict[str, tuple[int | None, int | None]]] = {
    "sop": {"train": (59551, 11318), "test": (60502, 11316)},
    "cub": {"train": (5864, 100), "test": (5924, 100)},
    "cars196": {"train": (8054, 98), "test": (8131, 98)},
    "inshop": {"train": (25882, 3997), "query": (14218, 3985), "gallery": (12612, 3985)},
    # The gallery's 752 ids are 750 persons, 0 (distractors) and -1 (junk).
    "market1501": {"train": (12936, 751), "query": (3368, 750), "gallery": (19732, 752)},
    # Images, and persons where the publishers state them.
    "mars": {"train": (509914, 625), "test": (681089, None)},
    "lpw": {"train": (None, 1975), "test": (None, 756)},
}
TRACKLETS: dict[str, dict[str, int]] = {
    "mars": {"train": 8298, "test": 12180, "query": 1980},
    "lpw": {"probe": 756},
}


def check_counts(dataset: str, splits: dict[str, Split], source: str) -> None:
    """Compare with `COUNTS`; `source` is the file or folder that the splits were read from, for the message."""
    for part, (images, classes) in COUNTS[dataset].items():
        split = splits[part]
        for what, expected, found in (("images", images, len(split)), ("classes", classes, split.num_classes)):
            if expected is not None and found != expected:
                raise DatasetError(
                    f"{source}: {dataset}/{part} has {found:,} {what}, published are {expected:,} "
                    "(check_counts=False accepts a part of the data set)"
                )
    for part, expected in TRACKLETS.get(dataset, {}).items():
        tracks = splits[part].tracks if part in splits else None
        if tracks is not None and (found := len(np.unique(tracks))) != expected:
            raise DatasetError(f"{source}: {dataset}/{part} has {found:,} tracklets, published are {expected:,}")
