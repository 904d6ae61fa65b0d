"""The data lists of the RLL and OSM+CAA releases: .mat files with cells of image paths, boxes and labels.

A list is a cell array with one row per image, the path in the first column and, where a box is used, [x y width
height] in the second (`TrainImagePathBoxCell`, `CUB_200_2011_TrainImagePathBoxCell`, `EvaImagePathBoxCell`), beside
`class_ids`; or one cell of frame paths per tracklet (`train_tracklets`) beside `train_labels` and `train_cameras`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.matlab.read import read_mat
from caffe_compat.matlab.write import save_split
from ports.datasets.split import Split

__all__ = ["ImageCells", "load_image_cells", "load_split", "load_splits", "save_split"]

_PARTS = {"train": "train", "test": "test", "eva": "eval", "query": "query", "probe": "query", "gallery": "gallery"}
INSHOP_QUERIES, INSHOP_GALLERY = 14_218, 12_612


@dataclasses.dataclass
class ImageCells:
    """A list that holds pixels instead of paths.

    images  N float32 arrays (W, H, 3) as stored: width first, B, G, R minus 104, 117, 123.
    labels  (N,) int64.
    name    part of the variable's name: "train", "test", ...
    """

    images: list[NDArray[Any]]
    labels: NDArray[Any]
    name: str


def load_split(mat_path: str | Path, *, image_root: str | Path | None = None, part: str | None = None) -> Split:
    """Read the one list of a .mat file (any version, 4 to 7.3).

    Args:
        mat_path: the file.
        image_root: where the images are here. The lists hold absolute paths of their authors' machines; leading
            folders are dropped until the rest is found below `image_root`. Without it the paths stay as they are.
        part: which list, where the file holds several: "train", "test", "query", "gallery", "eval".

    Returns:
        Split with one entry per image; for tracklets one per frame, `tracks` numbering the tracklets.

    Raises:
        CaffeFormatError: damaged file; no list in it, or several and no `part`; a cell of the wrong class; labels,
            boxes or cameras that are not one per row.
        DatasetError: images missing below `image_root` (how many, and the first three).
        FileNotFoundError: no such file.
    """
    splits = load_splits(mat_path, image_root=image_root)
    if part is None:
        whole = [name for name in splits if name not in ("query", "gallery")] or list(splits)
        if len(whole) > 1:
            raise CaffeFormatError(f"holds several lists, choose part= one of: {', '.join(splits)}", file=mat_path)
        part = whole[0]
    if part not in splits:
        raise CaffeFormatError(f'no list "{part}" in it; there is: {", ".join(splits)}', file=mat_path)
    return splits[part]


def load_splits(mat_path: str | Path, *, image_root: str | Path | None = None) -> dict[str, Split]:
    """Read all lists of a .mat file: part ("train", "test", "eval", ...) -> Split; arguments and errors as `load_split`.

    An evaluation list of exactly 14,218 + 12,612 rows is In-shop's: it also gives "query" (the first 14,218) and
    "gallery". `query_IDX` (1-based tracklet numbers) of a test or gallery list gives "query".
    """
    mat_path = Path(mat_path)
    variables = read_mat(mat_path)
    splits: dict[str, Split] = {}
    pixels = []
    for name, value in variables.items():
        if not _is_list(name, value):
            continue
        part = _part(name)
        if part in splits:
            raise CaffeFormatError(f'two lists are called "{part}" ({name} is the second)', file=mat_path)
        if _first_leaf_is_pixels(value):
            pixels.append(name)
            continue
        splits[part] = _list_split(variables, name, value, part, mat_path)
    if not splits:
        if pixels:
            raise CaffeFormatError(f"{pixels[0]} holds pixels, not paths: read it with load_image_cells", file=mat_path)
        raise CaffeFormatError(
            f"no cell array of image paths in it; variables: {', '.join(variables) or 'none'}", file=mat_path
        )
    _add_queries(splits, variables, mat_path)
    if image_root is not None:
        splits = {part: reroot(split, image_root, mat_path) for part, split in splits.items()}
    return splits


def load_image_cells(mat_path: str | Path) -> ImageCells:
    """Read a list of preprocessed images (`..._TrainImageDataCell`); errors as `load_split`."""
    mat_path = Path(mat_path)
    variables = read_mat(mat_path)
    for name, value in variables.items():
        if _is_list(name, value) and _first_leaf_is_pixels(value):
            images = list(value[:, 0])
            for i, image in enumerate(images):
                if not isinstance(image, np.ndarray) or image.dtype.kind not in "fiu" or image.ndim != 3:
                    raise CaffeFormatError(f"{name}{{{i + 1}}}: expected an image (W, H, 3)", file=mat_path)
            labels = _column(variables, _part(name), ("class_ids", "labels"), len(images), mat_path)
            if labels is None:
                raise CaffeFormatError(f"{name}: no class_ids beside it", file=mat_path)
            return ImageCells([np.asarray(image, dtype=np.float32) for image in images], labels, _part(name))
    raise CaffeFormatError(f"no cell array of images in it; variables: {', '.join(variables) or 'none'}", file=mat_path)


def _is_list(name: str, value: Any) -> bool:
    lower = name.lower()
    if isinstance(value, list | str):  # version 4 has no cells: a char matrix
        return "path" in lower or "tracklet" in lower
    named = "cell" in lower or "path" in lower or "tracklet" in lower
    return isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 2 and named


def _first_leaf_is_pixels(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.size > 0
        and isinstance(value[0, 0], np.ndarray)
        and value[0, 0].ndim == 3
    )


def _part(name: str) -> str:
    lower = name.lower()
    found = [(lower.rfind(key), part) for key, part in _PARTS.items() if key in lower]
    return max(found)[1] if found else "all"


def _list_split(variables: dict[str, Any], name: str, value: Any, part: str, file: Path) -> Split:
    if "tracklet" in name.lower():
        return _tracklet_split(variables, name, value, part, file)
    if isinstance(value, str):
        value = [value]
    rows = np.array(value, dtype=object).reshape(-1, 1) if isinstance(value, list) else value
    if rows.shape[0] == 1 and rows.shape[1] > 2:
        rows = rows.T
    if rows.shape[1] > 2:
        raise CaffeFormatError(f"{name}: {rows.shape[1]} columns, expected paths or paths and boxes", file=file)
    paths = [_path(row[0], f"{name}{{{i + 1},1}}", file) for i, row in enumerate(rows)]
    boxes: NDArray[Any] | None = None
    if rows.shape[1] == 2:
        boxes = np.array([_box(row[1], f"{name}{{{i + 1},2}}", file) for i, row in enumerate(rows)]).reshape(-1, 4)
    elif isinstance(value, list):
        boxes = _matrix(variables, part, "boxes", len(paths), file)
    labels = _column(variables, part, ("class_ids", "labels"), len(paths), file)
    if labels is None:
        raise CaffeFormatError(f"{name}: no class_ids beside it; variables: {', '.join(variables)}", file=file)
    return Split(
        paths,
        labels,
        name=part,
        boxes=boxes,
        super_labels=_column(variables, part, ("super_ids",), len(paths), file),
        cameras=_column(variables, part, ("cameras",), len(paths), file),
        tracks=_column(variables, part, ("tracks",), len(paths), file),
    )


def _tracklet_split(variables: dict[str, Any], name: str, value: Any, part: str, file: Path) -> Split:
    if not isinstance(value, np.ndarray):
        raise CaffeFormatError(f"{name}: tracklets must be a cell array", file=file)
    tracklets = value.reshape(-1)
    labels = _column(variables, part, ("labels", "class_ids"), len(tracklets), file)
    if labels is None:
        raise CaffeFormatError(f"{name}: no {part}_labels beside it; variables: {', '.join(variables)}", file=file)
    cameras = _column(variables, part, ("cameras",), len(tracklets), file)
    paths, tracks = [], []
    for i, frames in enumerate(tracklets):
        where = f"{name}{{{i + 1}}}"
        if not (isinstance(frames, np.ndarray) and frames.dtype == object):
            raise CaffeFormatError(f"{where}: expected a cell of frame paths, found {_kind(frames)}", file=file)
        for j, frame in enumerate(frames.reshape(-1)):
            paths.append(_path(frame, f"{where}{{{j + 1}}}", file))
            tracks.append(i)
    index = np.array(tracks, dtype=np.int64)
    return Split(paths, labels[index], name=part, cameras=None if cameras is None else cameras[index], tracks=index)


def _path(value: Any, where: str, file: Path) -> str:
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]  # a cell in a cell
    if not isinstance(value, str) or not value:
        raise CaffeFormatError(f"{where}: expected an image path, found {_kind(value)}", file=file)
    return value.replace("\\", "/") if "/" not in value else value


def _box(value: Any, where: str, file: Path) -> NDArray[Any]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.size != 4:
        raise CaffeFormatError(f"{where}: expected a box [x y width height], found {_kind(value)}", file=file)
    return value.reshape(4).astype(np.float64)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a {'cell' if value.dtype == object else value.dtype.name} array of {value.shape}"
    return "an empty string" if value == "" else type(value).__name__


def _matrix(variables: dict[str, Any], part: str, name: str, rows: int, file: Path) -> NDArray[Any] | None:
    for key, value in variables.items():
        if name in key.lower() and _part(key) in (part, "all"):
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.shape[0] != rows:
                raise CaffeFormatError(f"{key}: expected {rows} rows of numbers, found {_kind(value)}", file=file)
            return value
    return None


def _column(
    variables: dict[str, Any], part: str, names: tuple[str, ...], count: int, file: Path
) -> NDArray[Any] | None:
    """A vector of whole numbers for a part: its own (`train_labels`) before one that names no part (`class_ids`)."""
    keys = [k for n in names for k in variables if k.lower() == n or k.lower().endswith(f"_{n}")]
    keys = [k for k in keys if _part(k) == part] + [k for k in keys if _part(k) == "all"]
    for key in keys:
        value = variables[key]
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "fiub"
            or value.size != max(value.shape, default=0)
        ):
            raise CaffeFormatError(f"{key}: expected a vector of numbers, found {_kind(value)}", file=file)
        if value.size != count:
            raise CaffeFormatError(f"{key} has {value.size} entries for {count} rows of the list", file=file)
        vector = value.reshape(-1)
        if not (np.isfinite(vector).all() and (vector == np.floor(vector)).all()):
            raise CaffeFormatError(f"{key}: expected whole numbers", file=file)
        return vector.astype(np.int64)
    return None


def _add_queries(splits: dict[str, Split], variables: dict[str, Any], file: Path) -> None:
    for part in ("eval", "test"):
        split = splits.get(part)
        if split is not None and split.tracks is None and len(split) == INSHOP_QUERIES + INSHOP_GALLERY:
            splits.setdefault("query", split.subset(np.arange(INSHOP_QUERIES), "query"))
            splits.setdefault("gallery", split.subset(np.arange(INSHOP_QUERIES, len(split)), "gallery"))
    index = variables.get("query_IDX")
    test = splits.get("test") or splits.get("gallery")
    if index is None or test is None or test.tracks is None or "query" in splits:
        return
    wanted = np.asarray(index).reshape(-1)
    tracks = int(test.tracks.max(initial=-1)) + 1
    if wanted.dtype.kind not in "fiu" or not ((wanted >= 1) & (wanted <= tracks)).all():
        raise CaffeFormatError(f"query_IDX must number the {tracks} tracklets from 1", file=file)
    splits["query"] = test.subset(np.isin(test.tracks, wanted.astype(np.int64) - 1), "query")


def reroot(split: Split, image_root: str | Path, source: str | Path = "list") -> Split:
    """The split with paths relative to `image_root`: the leading folders of the list's own machine are dropped.

    How many is decided by a sample of the paths (as few as needed). Raises DatasetError, which names `source` and the row,
    when images are missing.
    """
    root = Path(image_root)
    parts = [path.split("/") for path in split.paths]
    sample = [parts[i] for i in np.unique(np.linspace(0, len(parts) - 1, 25).astype(int))] if parts else []
    longest = max(map(len, sample), default=1)
    # An absolute path has an empty first part, a Windows one a drive.
    found = [sum(len(p) > k and (root / "/".join(p[k:]).lstrip("/")).exists() for p in sample) for k in range(longest)]
    drop = int(np.argmax(found)) if any(found) else max(longest - 2, 0)
    paths = ["/".join(p[min(drop, len(p) - 1) :]).lstrip("/") for p in parts]
    moved = dataclasses.replace(split, paths=paths, root=root)

    def where(i: int) -> str:
        row = f"row {i + 1}" if split.tracks is None else f"tracklet {int(split.tracks[i]) + 1}"
        return f"{source}: {split.name}, {row}"

    moved.check_inside(where)
    moved.check_files(where)
    return moved
