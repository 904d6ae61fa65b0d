"""Market-1501 (Zheng et al., ICCV 2015): single images of persons from six cameras.

    Market-1501-v15.09.15/
      bounding_box_train/0002_c1s1_000451_03.jpg    person 2, camera 1, sequence 1, frame 451, detection 3
      bounding_box_test/  query/
      gt_bbox/                                      boxes drawn by hand, of which those of a query's person and camera are
                                                    its multiple queries

Labels are person ids: 0 marks distractors and -1 junk in the gallery. Images are in the order of their names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.datasets.description import Dataset
from ports.datasets.layout import find_root
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
BY_HAND = "gt_bbox"
NAME = re.compile(r"(-1|\d{4})_c(\d)s\d_\d{6}_\d{2}\.jpe?g(\.jpg)?", re.IGNORECASE)


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train", "query", "gallery" with cameras 1 .. 6, and "multi_query" where there is a folder gt_bbox.

    "multi_query" holds the images of gt_bbox that show the person of a query under that query's camera.

    Raises DatasetError: not that folder, an image whose name is not of that form, counts other than the published
    12,936 / 3,368 / 19,732.
    """
    folder = find_root(root, "Market-1501", *FOLDERS.values())
    splits = {part: _read_folder(folder, part, name) for part, name in FOLDERS.items()}
    if (folder / BY_HAND).is_dir():
        by_hand, query = _read_folder(folder, "multi_query", BY_HAND), splits["query"]
        splits["multi_query"] = by_hand.subset(np.isin(_sights(by_hand), _sights(query)))
    return DATASET.finish(folder, splits, check_counts, check_files=False)  # listed from the disk itself


def _read_folder(folder: Path, part: str, name: str) -> Split:
    paths, labels, cameras = [], [], []
    for file in sorted(p.name for p in (folder / name).iterdir()):
        if not file.lower().endswith((".jpg", ".jpeg")):
            continue  # the archive holds a Thumbs.db
        match = NAME.fullmatch(file)
        if match is None:
            raise DatasetError(f"{folder / name / file}: not a name like 0002_c1s1_000451_03.jpg")
        paths.append(f"{name}/{file}")
        labels.append(int(match[1]))
        cameras.append(int(match[2]))
    return Split(
        paths, np.array(labels, dtype=np.int64), f"market1501/{part}", folder, cameras=np.array(cameras, dtype=int)
    )


def _sights(split: Split) -> NDArray[Any]:
    """(N,) one number per person and camera."""
    assert split.cameras is not None
    return split.labels * 10 + split.cameras


DATASET = Dataset(
    name="market1501",
    title="Market-1501",
    read=read,
    # The gallery's 752 ids are 750 persons, 0 (distractors) and -1 (junk).
    counts={"train": (12936, 751), "query": (3368, 750), "gallery": (19732, 752)},
    archives="Market-1501-v15.09.15.zip",
    folders=r"bounding_box_(train|test)|Market-1501-v15.09.15",
    cameras=True,
    multi_query=BY_HAND,
    offer=Offer(
        page="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
        files=(Archive("Market-1501-v15.09.15.zip"),),
        terms="for academic research",
    ),
)
