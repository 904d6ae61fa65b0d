"""What the pictures of a run hold: their sha256, folded into the fingerprints of its data.

pictures.sha256 of a run directory lists them as `sha256sum` does: `cd DATA && sha256sum --check RUN/pictures.sha256`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paper_recipes.runner import digests
from paper_recipes.runner.data.run_data import Data, DataError, cache_folder
from ports.datasets.split import Split
from ports.files import atomic_path
from ports.progress import bar as bar_of

LIST = "pictures.sha256"
_PLAIN = {"\\": "\\", "n": "\n", "r": "\r"}
_ESCAPED = re.compile(r"\\([\\nr])")


def memory() -> Path:
    """Where the sha256 of files is remembered."""
    return cache_folder() / "sha256.sqlite"


def looked_at(data: Data, *, remembered: bool = True, progress: bool = True) -> Data:
    """`data` with the sha256 of every picture, in its splits and folded into the fingerprints of its description.

    remembered: files that are as they were (size and times) are not read again. Raises DataError for a file that cannot be
    read.
    """
    parts = dict(_parts(data))
    files = [file for split in parts.values() for file in split.files()]
    with bar_of(len(set(files)), "sha256", "img", leave=False, wanted=progress) as bar:
        try:
            found = digests.of_files(files, memory() if remembered else None, progress=bar.update)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from error
    table: np.ndarray[Any, Any] = np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, 32)
    taken: dict[str, Split] = {}
    description = dict(data.description)
    for part, split in parts.items():
        taken[part], table = replace(split, digests=table[: len(split)]), table[len(split) :]
        description[part] = {
            **description.get(part, {}),
            "images": len(split),
            "classes": split.num_classes,
            "list_sha256": split.fingerprint(),
            "fingerprint": taken[part].fingerprint(),
        }
    same = data.multi_query is not None and data.multi_query is data.test
    return replace(
        data,
        train=taken["train"],
        test=taken["test"],
        gallery=taken.get("gallery"),
        multi_query=taken["test"] if same else taken.get("multi_query"),
        description=description,
    )


def _parts(data: Data) -> Iterator[tuple[str, Split]]:
    yield "train", data.train
    yield "test", data.test
    if data.gallery is not None:
        yield "gallery", data.gallery
    if data.multi_query is not None and data.multi_query is not data.test:
        yield "multi_query", data.multi_query


def listed(data: Data) -> dict[str, str]:
    """Picture, below the data's root where it is there -> sha256 in hexadecimal; empty where the pictures were not looked at."""
    root = data.description.get("root")
    found: dict[str, str] = {}
    for _, split in _parts(data):
        if split.digests is not None:
            for file, sha256 in zip(split.files(), split.digests):
                found[_below(root, file)] = sha256.tobytes().hex()
    return found


def _below(root: Any, file: str) -> str:
    if root is not None:
        relative = os.path.relpath(file, root)
        if not relative.startswith(".."):
            return relative.replace(os.sep, "/")
    return os.path.abspath(file)


def write_list(path: Path, data: Data) -> None:
    text = "".join(_line(name, sha256) for name, sha256 in listed(data).items())
    with atomic_path(path, parents=True) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def read_list(path: Path) -> dict[str, str]:
    """What `write_list` wrote: picture -> sha256. Raises DataError naming the first line that is none of its."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")[:-1], 1):
        match = re.fullmatch(r"(\\?)([0-9a-f]{64})  (.+)", line)
        if match is None:
            raise DataError(f"{path}: line {number} is not a sha256 and a picture: {line[:80]!r}")
        escaped, sha256, name = match.groups()
        found[_ESCAPED.sub(lambda m: _PLAIN[m[1]], name) if escaped else name] = sha256
    return found


def difference(written: dict[str, str], now: dict[str, str]) -> str | None:
    """The first picture that is not as it was written down, in words; None: all are."""
    for name, sha256 in written.items():
        if name not in now:
            return f"{name} is gone"
        if now[name] != sha256:
            return f"{name} has changed: its sha256 is {now[name][:16]}, it was {sha256[:16]}"
    return next((f"{name} is new" for name in now if name not in written), None)


def check_list(path: Path, data: Data) -> None:
    """Raise DataError where the pictures are not those that the run in `path`'s folder began with."""
    if path.exists() and (what := difference(read_list(path), listed(data))) is not None:
        raise DataError(f"{path}: the run began with other pictures: {what}")


def _line(name: str, sha256: str) -> str:
    """As coreutils write it: a name with a line break or a backslash in it is escaped, and the line begins with one."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if escaped != name else ''}{sha256}  {escaped}\n"
