"""A data split: which images (or tracklets) there are and what is known about each.

Labels are the data set's own numbers (SOP and CUB count from 1, MARS uses person ids, -1 or 0 may mark junk); use
`Split.contiguous()` where 0 .. C-1 is wanted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DatasetError(ValueError):
    """Data that is missing, in the wrong place or not what was published; the message names file and expectation."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """N items of a data set.

    paths         N image files as text, relative to `root` with forward slashes (absolute ones are allowed).
    labels        (N,) int64 class or person ids, the data set's own numbers.
    name          for people and reports, such as "sop/train".
    root          folder that `paths` are relative to; None: relative to the working directory.
    class_names   name per class of this split, in the order of `np.unique(labels)`; None where there are none.
    boxes         (N, 4) float64 x, y, width, height in pixels, 1-based corner as MATLAB's imcrop takes it.
    super_labels  (N,) int64 coarser class (SOP: one of 12 kinds of product).
    cameras       (N,) int64 camera number (person re-identification).
    tracks        (N,) int64 tracklet number within the split: items with the same one are frames of one sequence.
    digests       (N, 32) uint8 sha256 of each image file; None where the files were not read.
    """

    paths: list[str]
    labels: NDArray[Any]
    name: str = ""
    root: Path | None = None
    class_names: list[str] | None = None
    boxes: NDArray[Any] | None = None
    super_labels: NDArray[Any] | None = None
    cameras: NDArray[Any] | None = None
    tracks: NDArray[Any] | None = None
    digests: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # frozen: only the constructor normalises
        put(self, "paths", [str(p) for p in self.paths])
        put(self, "root", None if self.root is None else Path(self.root))
        n = len(self.paths)
        for field in ("labels", "super_labels", "cameras", "tracks"):
            value = getattr(self, field)
            if value is None:
                if field == "labels":
                    raise DatasetError(f"split {self.name!r}: labels are missing")
                continue
            array = np.asarray(value)
            whole = np.issubdtype(array.dtype, np.integer) or (
                np.issubdtype(array.dtype, np.floating) and bool(np.all(array == np.floor(array)))
            )
            if not whole:
                raise DatasetError(f"split {self.name!r}: {field} must be whole numbers, got {array.dtype}")
            if array.shape != (n,):
                raise DatasetError(f"split {self.name!r}: {n} paths but {field} of shape {array.shape}")
            put(self, field, array.astype(np.int64))
        if self.boxes is not None:
            boxes = np.asarray(self.boxes, dtype=np.float64)
            if boxes.shape != (n, 4):
                raise DatasetError(f"split {self.name!r}: {n} paths but boxes of shape {boxes.shape}, not ({n}, 4)")
            put(self, "boxes", boxes)
        if self.digests is not None:
            digests = np.asarray(self.digests, dtype=np.uint8)
            if digests.shape != (n, 32):
                raise DatasetError(
                    f"split {self.name!r}: {n} paths but digests of shape {digests.shape}, not ({n}, 32)"
                )
            put(self, "digests", digests)
        if self.class_names is not None:
            put(self, "class_names", [str(c) for c in self.class_names])
            if len(self.class_names) != self.num_classes:
                raise DatasetError(
                    f"split {self.name!r}: {self.num_classes} classes but {len(self.class_names)} class names"
                )

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        extras = [f for f in ("boxes", "super_labels", "cameras", "tracks") if getattr(self, f) is not None]
        more = f", with {', '.join(extras)}" if extras else ""
        return f"Split({self.name!r}, {len(self)} images, {self.num_classes} classes{more}, root={str(self.root)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Split):
            return NotImplemented
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, np.ndarray) or isinstance(theirs, np.ndarray):
                if mine is None or theirs is None or not np.array_equal(mine, theirs):
                    return False
            elif mine != theirs:
                return False
        return True

    __hash__ = None  # type: ignore[assignment]

    @property
    def num_classes(self) -> int:
        return len(np.unique(self.labels))

    def file(self, index: int) -> str:
        """File name of one item, below `root`."""
        path = self.paths[index]
        return path if self.root is None else os.path.join(self.root, path)  # an absolute `path` wins, as it should

    def files(self) -> list[str]:
        """File names of all N items, absolute if `root` is."""
        return [self.file(i) for i in range(len(self))]

    def contents(self) -> list[bytes]:
        """The N image files as they are on the disk."""
        return [Path(file).read_bytes() for file in self.files()]

    def check_files(self, where: Callable[[int], str] | None = None) -> None:
        """Raise DatasetError (how many, the first three) if image files are missing.

        where: what the error calls the place of item i, such as "train.txt:7"; the first missing one's is said.

        Lists each folder once instead of asking for each file: 60,502 files on a network disk in seconds.
        """
        listings: dict[str, set[str]] = {}
        missing: list[str] = []
        first = 0
        for i, name in enumerate(self.files()):
            folder, base = os.path.split(name)
            if folder not in listings:
                try:
                    listings[folder] = set(os.listdir(folder or "."))
                except OSError:
                    listings[folder] = set()
            # The second look is for file systems that ignore case (official lists differ from the disk in case).
            if base not in listings[folder] and not os.path.exists(name):
                first = first if missing else i
                missing.append(name)
        if missing:
            place = where(first) if where is not None else self.name or "split"
            shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise DatasetError(f"{place}: {len(missing)} of {len(self)} images are missing: {shown}")

    def check_inside(self, where: Callable[[int], str]) -> None:
        """Raise DatasetError if a path leads out of `root`: a list of somebody else's names the files that are opened.

        where: what the error calls the place of item i, such as "train.txt:7". Links inside `root` may lead where they will: the user made them.
        """
        root = os.path.abspath(self.root or "")
        inside = os.path.join(root, "")
        outside = [
            i
            for i, path in enumerate(self.paths)
            if "\0" in path or not os.path.normpath(os.path.join(root, path)).startswith(inside)
        ]
        if outside:
            raise DatasetError(
                f"{where(outside[0])}: {len(outside)} of {len(self)} image paths lead out of {root}, "
                f"{self.paths[outside[0]][:200]!r} first; "
                "if they are right, name a root that holds them all"
            )

    def fingerprint(self) -> str:
        """sha256 of the list: paths, labels and what else is known per item, the images' content included where there are
        digests; not the root.
        """
        digest = hashlib.sha256()
        digest.update("\n".join(self.paths).encode())
        for field in ("labels", "boxes", "super_labels", "cameras", "tracks"):
            value = getattr(self, field)
            if value is not None:
                digest.update(f"\0{field}\0".encode())
                digest.update(np.ascontiguousarray(value, dtype="<f8" if field == "boxes" else "<i8").tobytes())
        if self.digests is not None:
            digest.update(b"\0digests\0" + self.digests.tobytes())
        return digest.hexdigest()

    def subset(self, index: Sequence[int] | NDArray[Any], name: str | None = None) -> Split:
        """The items of `index` (M,) int, in that order, or where a boolean mask (N,) is true."""
        index = np.asarray(index)
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise DatasetError(f"split {self.name!r}: mask of shape {index.shape} for {len(self)} items")
            index = np.flatnonzero(index)
        index = index.astype(np.int64)
        taken: dict[str, Any] = {}
        for field in ("labels", "boxes", "super_labels", "cameras", "tracks", "digests"):
            value = getattr(self, field)
            taken[field] = None if value is None else value[index]
        if self.class_names is not None:
            names = dict(zip(np.unique(self.labels).tolist(), self.class_names))
            taken["class_names"] = [names[label] for label in np.unique(taken["labels"]).tolist()]
        paths = [self.paths[i] for i in index]
        return dataclasses.replace(self, paths=paths, name=self.name if name is None else name, **taken)

    def contiguous(self) -> NDArray[Any]:
        """(N,) int64 labels renumbered 0 .. C-1 in increasing order, as classifiers want them."""
        return np.unique(self.labels, return_inverse=True)[1].reshape(-1).astype(np.int64)
