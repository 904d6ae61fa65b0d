"""Labeled Pedestrian in the Wild (Song et al., AAAI 2018): tracklets from three scenes.

    pep_256x128/scen1/view1/7/123.jpg     scene 1, camera view 1, person 7 of that scene, one frame

Scenes 2 and 3 are for training, scene 1 for test: view 2 is the query, views 1 and 3 are the gallery. A person seen in
a view is one tracklet. Person numbers start again in each scene; labels here are scene * 100,000 + person, cameras are
scene * 10 + view.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from ports.datasets.description import Dataset
from ports.datasets.layout import find_root
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import DatasetError, Split

SCENES = ("scen1", "scen2", "scen3")


def read(root: str | Path, *, check_counts: bool = True, check_files: bool = True) -> dict[str, Split]:
    """Splits "train", "query", "gallery" with cameras and tracks; persons and frames in increasing order of number.

    Raises DatasetError: not that folder, a folder or image without number, counts other than the published 418,739 /
    63,118 / 108,690 images and 1,975 / 756 persons.
    """
    folder = find_root(root, "LPW", *SCENES)
    rows: dict[str, list[tuple[str, int, int, int]]] = {"train": [], "query": [], "gallery": []}
    tracks = dict.fromkeys(rows, 0)
    for scene, name in enumerate(SCENES, 1):
        for view, view_name in _numbered(folder / name, r"view(\d+)", "view1"):
            part = "train" if scene > 1 else "query" if view == 2 else "gallery"
            for person, person_name in _numbered(folder / name / view_name, r"(\d+)", "7"):
                where = f"{name}/{view_name}/{person_name}"
                frames = _numbered(folder / where, r"(\d+)\.jpe?g", "123.jpg")
                label = scene * 100_000 + person
                rows[part] += [(f"{where}/{f}", label, scene * 10 + view, tracks[part]) for _, f in frames]
                tracks[part] += bool(frames)
    splits = {}
    for part, chosen in rows.items():
        numbers = np.array([row[1:] for row in chosen], dtype=np.int64).reshape(-1, 3)
        splits[part] = Split(
            [row[0] for row in chosen],
            numbers[:, 0],
            f"lpw/{part}",
            folder,
            cameras=numbers[:, 1],
            tracks=numbers[:, 2],
        )
    return DATASET.finish(folder, splits, check_counts, check_files=False)  # listed from the disk itself


def _numbered(folder: Path, pattern: str, example: str) -> list[tuple[int, str]]:
    """(number, name) of a folder's entries in increasing order; hidden files do not count."""
    found = []
    for name in os.listdir(folder):
        if name.startswith(".") or name == "Thumbs.db":
            continue
        match = re.fullmatch(pattern, name, re.IGNORECASE)
        if match is None:
            raise DatasetError(f"{folder / name}: not a name like {example}")
        found.append((int(match[1]), name))
    return sorted(found)


DATASET = Dataset(
    name="lpw",
    title="LPW",
    read=read,
    counts={"train": (418739, 1975), "query": (63118, 756), "gallery": (108690, 756)},
    archives="pep_256x128.zip",
    folders=r"scen[123]|pep_256x128",
    tracklets={"query": 756},
    cameras=True,
    offer=Offer(page="https://liuyu.us/dataset/lpw/index.html", files=(Archive("pep_256x128.zip"),)),
)
