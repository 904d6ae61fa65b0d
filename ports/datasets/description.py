"""What is known of a data set in one place: each file of an official data set ends in one `DATASET`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ports.datasets.offer import Offer
from ports.datasets.split import DatasetError, Split

Files = dict[str, bytes]  # path inside an archive -> content
# Files of the archive, files that come beside it, and what is in them: part -> [images, classes].
Packed = tuple[Files, Files, dict[str, list[int]]]


@dataclass(frozen=True)
class Dataset:
    """One official data set.

    name         as recipes and commands write it, and in the names of its splits
    title        as papers and the table of published numbers call it
    read         read(root, *, check_counts=True, check_files=True) -> splits of an official layout
    counts       part -> (images, classes) that its publishers state; None where no published figure is known to us
    archives     what the hosts ship, and therefore what `prepare` wants to be given; its first word is the main archive
    folders      regular expression of the folder names in its layout, by which it is known when its lists are missing
    tracklets    part -> how many, where items are frames
    cameras      does each image have the number of its camera?
    boxes        does each image have an annotated box?
    multi_query  folder in the archive with further images of each query's person; "" where there is none
    pack         splits "train" and "test" as the files of its archive; None: nobody needed that yet
    offer        where it is to be had; None where nobody looked that up
    """

    name: str
    title: str
    read: Callable[..., dict[str, Split]]
    counts: dict[str, tuple[int | None, int | None]]
    archives: str
    folders: str
    tracklets: dict[str, int] = field(default_factory=dict)
    cameras: bool = False
    boxes: bool = False
    multi_query: str = ""
    pack: Callable[[dict[str, Split]], Packed] | None = None
    offer: Offer | None = None

    def finish(
        self, folder: object, splits: dict[str, Split], check_counts: bool, check_files: bool
    ) -> dict[str, Split]:
        """The last steps of every reader: published counts, then presence of every image."""
        if check_counts:
            self.check_counts(splits, folder)
        if check_files:
            for split in splits.values():
                split.check_files()
        return splits

    def check_counts(self, splits: dict[str, Split], source: object) -> None:
        """Compare with `counts` and `tracklets`; `source` is where the splits were read from, for the message."""
        wrong = []
        for part, (images, classes) in self.counts.items():
            split = splits[part]
            found_tracklets = 0 if split.tracks is None else len(np.unique(split.tracks))
            for what, expected, found in (
                ("images", images, len(split)),
                ("classes", classes, split.num_classes),
                ("tracklets", self.tracklets.get(part), found_tracklets),
            ):
                if expected is not None and found != expected:
                    wrong.append(f"{part} has {found:,} {what} instead of {expected:,}")
        if wrong:
            raise DatasetError(
                f"{source}: not the published {self.name}: {'; '.join(wrong)} (check_counts=False reads it all the same)"
            )


def counted(**parts: Split) -> dict[str, list[int]]:
    """Part -> [images, classes]."""
    return {part: [len(split), split.num_classes] for part, split in parts.items()}
