"""MARS (Zheng et al., ECCV 2016): tracklets of persons from six cameras.

    bbox_train/0001/0001C1T0001F001.jpg ...   bbox_test/0000/... bbox_test/00-1/...
    info/train_name.txt  info/test_name.txt   one image name a line
    info/tracks_train_info.mat                track_train_info (8298, 4): first line, last line, person, camera
    info/tracks_test_info.mat                 track_test_info (12180, 4)
    info/query_IDX.mat                        query_IDX (1, 1980): rows of track_test_info, counted from 1

Items are frames; `tracks` is the row of the table (from 0), so a query frame and the same frame in the gallery agree.
The gallery is all of the test tracklets, query ones included (the evaluation drops same-camera matches); person 0
marks distractors and -1 junk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.datasets.description import Dataset
from ports.datasets.layout import find_root, read_lines, read_mat, safe_path
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train", "query", "gallery" with cameras and tracks.

    Raises DatasetError: not that folder, unreadable .mat tables, tracklets that point outside the name list, missing
    images, counts other than the published 8,298 / 1,980 / 12,180 tracklets and 509,914 / 681,089 images.
    """
    folder = find_root(root, "MARS", "info", "bbox_train", "bbox_test")
    train = _frames(folder, "train")
    gallery = _frames(folder, "test")
    path = folder / "info" / "query_IDX.mat"
    rows = _matrix(path, "query_IDX").reshape(-1) - 1
    assert gallery.tracks is not None
    count = int(gallery.tracks.max(initial=-1)) + 1
    if rows.size and not (rows.min() >= 0 and rows.max() < count):
        raise DatasetError(f"{path}: rows {rows.min() + 1} to {rows.max() + 1}, there are {count}")
    query = gallery.subset(np.isin(gallery.tracks, rows), "mars/query")
    splits = {"train": train, "query": query, "gallery": gallery}
    return DATASET.finish(folder, splits, check_counts, check_files)


def _frames(folder: Path, part: str) -> Split:
    """The frames of bbox_`part`, tracklet after tracklet."""
    names_file = folder / "info" / f"{part}_name.txt"
    names = []
    for number, line in read_lines(names_file):
        # A name starts with the person: four characters, "00-1" for junk, and that is its folder.
        names.append(f"bbox_{part}/{line[:4]}/{safe_path(line, names_file, number)}")
    path = folder / "info" / f"tracks_{part}_info.mat"
    table = _matrix(path, f"track_{part}_info")
    if table.ndim != 2 or table.shape[1] != 4:
        raise DatasetError(f"{path}: track_{part}_info is {table.shape}, expected (tracklets, 4)")
    first, last = table[:, 0] - 1, table[:, 1]
    bad = np.flatnonzero((first < 0) | (last <= first) | (last > len(names)))
    if bad.size:
        raise DatasetError(
            f"{path}: row {bad[0] + 1} spans lines {first[bad[0]] + 1} to {last[bad[0]]}, "
            f"{names_file.name} has {len(names):,}"
        )
    length = last - first
    if length.sum() > 100 * (len(names) + 1000):
        raise DatasetError(f"{path}: its tracklets hold {length.sum():,} frames, {names_file.name} has {len(names):,}")
    index = np.concatenate([np.arange(a, b) for a, b in zip(first, last)]) if len(table) else np.zeros(0, np.int64)
    return Split(
        [names[i] for i in index],
        np.repeat(table[:, 2], length),
        "mars/train" if part == "train" else "mars/gallery",
        folder,
        cameras=np.repeat(table[:, 3], length),
        tracks=np.repeat(np.arange(len(table)), length),
    )


def _matrix(path: Path, key: str) -> NDArray[Any]:
    """A table of whole numbers as int64."""
    content = read_mat(path)
    table = content.get(key)
    if not isinstance(table, np.ndarray) or table.dtype.kind not in "fiub":
        raise DatasetError(f"{path}: no numeric matrix {key!r} in it, only {', '.join(sorted(content)) or 'nothing'}")
    if not np.all(np.isfinite(table) & (np.abs(table) < 1 << 31)):
        raise DatasetError(f"{path}: {key} holds numbers that are no line, person or camera")
    return table.astype(np.int64)


DATASET = Dataset(
    name="mars",
    title="MARS",
    read=read,
    counts={"train": (509914, 625), "gallery": (681089, None)},
    archives="bbox_train.zip, bbox_test.zip and the folder info of the MARS-evaluation repository as info.zip",
    folders=r"bbox_(train|test)",
    # The gallery holds the query tracklets too.
    tracklets={"train": 8298, "query": 1980, "gallery": 12180},
    cameras=True,
    offer=Offer(
        page="https://zheng-lab.cecs.anu.edu.au/Project/project_mars.html, and for the folder info "
        "https://github.com/liangzheng06/MARS-evaluation",
        files=(Archive("bbox_train.zip"), Archive("bbox_test.zip"), Archive("info.zip")),
    ),
)
