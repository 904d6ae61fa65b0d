"""Letters packed as the hosts pack their data sets: the way from archive to report, to be tried without a download.

A hundred letters to train on and forty to test on, in the official files and layout of a data set that says
how it is packed. A marker file travels inside. What is prepared from such an archive is checked against the marker's counts
instead of the published ones, and a run on it has nothing published to compare with.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from paper_recipes.runner.data.letters import with_boxes
from ports import datasets
from ports.datasets import cub, glyphs
from ports.datasets.description import Files
from ports.datasets.split import DatasetError, Split
from ports.files import atomic_path

MARKER = "embedded_letters.json"
CLASSES = {"train": cub.TRAIN_CLASSES, "test": 40}  # CUB's first hundred classes train, whatever comes after them


def marker_of(root: Path) -> Path | None:
    """The marker in `root` or in a folder directly below it; None: not made of letters."""
    return next(iter([*root.glob(MARKER), *root.glob(f"*/{MARKER}")]), None)


def check_counts(dataset: str, root: Path, splits: dict[str, Split]) -> None:
    """Raise DatasetError if `splits` are not what the marker under `root` says."""
    marker = marker_of(root)
    assert marker is not None
    try:
        known = json.loads(marker.read_text(encoding="utf-8"))["splits"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{marker}: not written by prepare --embedded ({error!r})") from None
    found = {part: [len(split), split.num_classes] for part, split in splits.items()}
    if found != known:
        raise DatasetError(f"{root}: {dataset} of letters with images and classes {found} instead of {known}")


def make(dataset: str, folder: Path, letters: Path) -> list[Path]:
    """Write the archive (and loose list) of `dataset` into `folder`; `letters` is where the drawn letters are kept.

    Raises DatasetError for a data set without such a form.
    """
    about = datasets.describe(dataset)
    if about.pack is None:
        known = [name for name in datasets.names() if datasets.describe(name).pack is not None]
        raise DatasetError(f"{dataset}: letters come in the layouts of {', '.join(known)}")
    splits = glyphs.build(letters)
    chosen = {part: _some_classes(split, CLASSES[part]) for part, split in splits.items()}
    if about.boxes:  # the rectangle of ink
        chosen = {part: with_boxes(split) for part, split in chosen.items()}
    name = about.archives.split()[0]
    files, loose, counts = about.pack(chosen)
    marker = json.dumps({"what": "letters drawn from fonts, not the data set", "splits": counts}, indent=1)
    files = {f"{_top(files)}{MARKER}": marker.encode(), **files}
    written = [folder / name]
    with atomic_path(written[0], parents=True) as temporary:
        (_tar if name.endswith(".tgz") else _zip)(temporary, files)
    for other, content in loose.items():
        written.append(folder / other)
        with atomic_path(written[-1]) as temporary:
            temporary.write_bytes(content)
    return written


def _some_classes(split: Split, count: int) -> Split:
    """Classes spread evenly over the list, so that every script is among them."""
    classes = np.unique(split.labels)
    kept = classes[np.linspace(0, len(classes) - 1, count).astype(int)]
    return split.subset(np.isin(split.labels, kept))


def _top(files: Files) -> str:
    """The folder that all files lie in, with its slash; empty where there is none."""
    tops = {name.split("/")[0] for name in files}
    return f"{tops.pop()}/" if len(tops) == 1 and "img" not in tops else ""


def _zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # a fixed date: the same archive every time


def _tar(path: Path, files: Files) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
