"""Write data lists as the original scripts store them, in any version of the .mat format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_compat.matlab.mat73 import write_mat73
from ports.datasets.split import Split
from ports.files import atomic_path

VERSIONS = ("4", "6", "7", "7.3")


def save_split(split: Split, path: str | Path, *, version: str = "7", variable: str | None = None) -> None:
    """Write a split as a .mat file that the original MATLAB scripts (and `load_split`) read.

    Variables: the list, `<Part>ImagePathBoxCell` with one row per image (path, and box where there are boxes), and
    `class_ids`, `super_ids`, `cameras` as columns. A split with `tracks` (all frames of a tracklet in one row, in
    order) becomes `<part>_tracklets`, `<part>_labels`, `<part>_cameras`.

    Args:
        split: paths are written joined with `split.root`, as the scripts want absolute ones.
        path: file to write; it appears only when complete.
        version: "4" (char matrix, no cells: for old readers), "6", "7" (compressed) or "7.3" (HDF5).
        variable: name of the list instead of the usual one.

    Raises:
        ValueError: unknown version; tracklets of mixed labels or cameras; what version 4 cannot hold.
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
    part = split.name.rpartition("/")[2] or "all"
    variables = _tracklets(split, part, variable) if split.tracks is not None else _images(split, part, variable)
    if version == "7.3":
        write_mat73(path, variables)
        return
    if version == "4":
        variables = _without_cells(variables)
    import scipy.io

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        if version == "4":
            scipy.io.savemat(file, variables, format="4")
        else:
            scipy.io.savemat(file, variables, do_compression=version == "7", long_field_names=True)


def _files(split: Split) -> list[str]:
    return [name.replace("\\", "/") for name in split.files()]


def _column(values: Any) -> NDArray[Any]:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def _images(split: Split, part: str, variable: str | None) -> dict[str, Any]:
    cells = np.empty((len(split), 1 if split.boxes is None else 2), dtype=object)
    cells[:, 0] = _files(split)
    if split.boxes is not None:
        for i, box in enumerate(split.boxes):
            cells[i, 1] = np.asarray(box, dtype=np.float64).reshape(1, 4)
    name = variable or f"{part[:1].upper()}{part[1:]}ImagePathBoxCell"
    variables: dict[str, Any] = {name: cells, "class_ids": _column(split.labels)}
    if split.super_labels is not None:
        variables["super_ids"] = _column(split.super_labels)
    if split.cameras is not None:
        variables["cameras"] = _column(split.cameras)
    return variables


def _tracklets(split: Split, part: str, variable: str | None) -> dict[str, Any]:
    assert split.tracks is not None
    files = np.array(_files(split), dtype=object)
    numbers = np.unique(split.tracks)
    cells = np.empty((1, len(numbers)), dtype=object)
    labels, cameras = [], []
    for i, number in enumerate(numbers):
        frames = np.flatnonzero(split.tracks == number)
        cells[0, i] = files[frames].reshape(1, -1)
        labels.append(_one(split.labels[frames], "labels", number))
        if split.cameras is not None:
            cameras.append(_one(split.cameras[frames], "cameras", number))
    variables: dict[str, Any] = {variable or f"{part}_tracklets": cells, f"{part}_labels": _column(labels).T}
    if cameras:
        variables[f"{part}_cameras"] = _column(cameras)
    return variables


def _one(values: NDArray[Any], what: str, track: int) -> int:
    if len(np.unique(values)) != 1:
        raise ValueError(f"tracklet {track} has several {what}: {np.unique(values).tolist()[:5]}")
    return int(values[0])


def _without_cells(variables: dict[str, Any]) -> dict[str, Any]:
    """Version 4: paths as the rows of a char matrix, boxes as a matrix of their own."""
    result: dict[str, Any] = {}
    for name, value in variables.items():
        if value.dtype != object:
            result[name] = value
            continue
        paths = list(value[:, 0])
        if not all(isinstance(path, str) and path.isascii() and path == path.rstrip() for path in paths):
            raise ValueError("version 4 holds plain lists of ASCII paths only; use version 6, 7 or 7.3")
        width = max(map(len, paths), default=0)
        result[name] = np.array([list(path.ljust(width)) for path in paths], dtype="U1")
        if value.shape[1] == 2:
            result[name.replace("PathBoxCell", "") + "Boxes"] = np.concatenate(list(value[:, 1]))
    return result
