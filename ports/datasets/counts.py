"""What the publishers say is in each data set: the one table that readers check against."""

from __future__ import annotations

import numpy as np

from ports.datasets.split import DatasetError, Split

# (images, classes) per split; None where no published figure is known to us.
COUNTS: dict[str, dict[str, tuple[int | None, int | None]]] = {
    "sop": {"train": (59551, 11318), "test": (60502, 11316)},
    "cub": {"train": (5864, 100), "test": (5924, 100)},
    "cars196": {"train": (8054, 98), "test": (8131, 98)},
    "inshop": {"train": (25882, 3997), "query": (14218, 3985), "gallery": (12612, 3985)},
    # The gallery's 752 ids are 750 persons, 0 (distractors) and -1 (junk).
    "market1501": {"train": (12936, 751), "query": (3368, 750), "gallery": (19732, 752)},
    "mars": {"train": (509914, 625), "gallery": (681089, None)},
    "lpw": {"train": (418739, 1975), "query": (63118, 756), "gallery": (108690, 756)},
}
# Tracklets per split, for the data sets whose items are frames. MARS's gallery holds the query tracklets too.
TRACKLETS: dict[str, dict[str, int]] = {
    "mars": {"train": 8298, "query": 1980, "gallery": 12180},
    "lpw": {"query": 756},
}


def check_counts(dataset: str, splits: dict[str, Split], source: object) -> None:
    """Compare with `COUNTS` and `TRACKLETS`; `source` is the folder that the splits were read from, for the message."""
    wrong = []
    for part, (images, classes) in COUNTS[dataset].items():
        split = splits[part]
        tracklets = TRACKLETS.get(dataset, {}).get(part)
        found_tracklets = 0 if split.tracks is None else len(np.unique(split.tracks))
        for what, expected, found in (
            ("images", images, len(split)),
            ("classes", classes, split.num_classes),
            ("tracklets", tracklets, found_tracklets),
        ):
            if expected is not None and found != expected:
                wrong.append(f"{part} has {found:,} {what} instead of {expected:,}")
    if wrong:
        raise DatasetError(
            f"{source}: not the published {dataset}: {'; '.join(wrong)} (check_counts=False reads it all the same)"
        )
