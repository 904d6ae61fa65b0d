"""From the official archives to a verified folder: `prepare`, and `check` to look again later."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ports.datasets import describe, read
from ports.datasets.extract import extract, is_archive
from ports.datasets.split import DatasetError, Split
from ports.files import atomic_path
from ports.locks import alone

MARKER = "prepared.json"


def prepare(
    dataset: str,
    archives: Iterable[str | Path],
    root: str | Path,
    *,
    password: str | None = None,
    progress: bool = True,
    check_counts: bool = True,
) -> dict[str, Split]:
    """Unpack official archives (and copy loose files such as cars_annos.mat) into `root`, verify, return the splits.

    Works in `root` + ".partial", which stays when interrupted or when something is wrong: the next call goes on there.
    `root` appears at the end, complete, with prepared.json (counts and list hashes). A prepared `root` is read only.
    """
    wanted = describe(dataset).archives
    root = Path(root).expanduser().absolute()
    if (root / MARKER).is_file():
        return check(dataset, root, check_counts=check_counts)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DatasetError(f"{root}: already holds something that was not prepared here; name a new folder")
    files = [Path(a).expanduser() for a in archives]
    if not files:
        raise DatasetError(f"{dataset}: no archive given; wanted: {wanted}")
    for file in files:
        if not file.is_file():
            raise DatasetError(f"{file}: archive not found; {dataset} comes as {wanted}")
    root.parent.mkdir(parents=True, exist_ok=True)
    with alone(root.with_name(f".{root.name}.lock")):  # a second call waits, and finds what the first one made
        if not (root / MARKER).is_file():
            _make(dataset, files, root, password=password, progress=progress, check_counts=check_counts)
    return read(dataset, root, check_counts=check_counts, check_files=False)


def _make(
    dataset: str, files: list[Path], root: Path, *, password: str | None, progress: bool, check_counts: bool
) -> None:
    work = root.with_name(root.name + ".partial")
    work.mkdir(exist_ok=True)
    try:
        for file in files:
            if is_archive(file):
                extract(file, work, password=password, progress=progress)
            else:
                with atomic_path(work / file.name) as temporary:
                    shutil.copyfile(file, temporary)
    finally:
        if not any(work.iterdir()):  # the first archive was none
            work.rmdir()
    try:
        splits = read(dataset, work, check_counts=check_counts)
    except DatasetError as error:
        wanted = describe(dataset).archives
        raise DatasetError(f"{error} [unpacked in {work}; {dataset} comes as {wanted}]") from None
    record = {"dataset": dataset, "sources": [{"name": f.name, "bytes": f.stat().st_size} for f in files]}
    with atomic_path(work / MARKER) as temporary:
        temporary.write_text(json.dumps({**record, "splits": summary(splits)}, indent=1) + "\n", encoding="utf-8")
    if root.exists():
        root.rmdir()  # empty, looked at above
    os.replace(work, root)


def summary(splits: dict[str, Split]) -> dict[str, dict[str, object]]:
    """What identifies each split: images, classes, sha256 of its list."""
    return {
        part: {"images": len(split), "classes": split.num_classes, "list_sha256": split.fingerprint()}
        for part, split in splits.items()
    }


def check(dataset: str, root: str | Path, *, check_counts: bool = True) -> dict[str, Split]:
    """Read `root` again: counts, presence of images and, where prepared.json has them, the list hashes."""
    root = Path(root).expanduser().absolute()
    splits = read(dataset, root, check_counts=check_counts)
    marker = root / MARKER
    if not marker.is_file():
        return splits
    try:
        record = json.loads(marker.read_text(encoding="utf-8"))
        known_dataset, known_splits = record["dataset"], dict(record["splits"])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{marker}: not written by prepare ({error!r})") from None
    if known_dataset != dataset:
        raise DatasetError(f"{marker}: prepared as {known_dataset}, not {dataset}")
    for part, found in summary(splits).items():
        known = known_splits.get(part)
        if known != found:
            raise DatasetError(f"{root}: {part} was {known} when prepared and is {found} now")
    return splits
