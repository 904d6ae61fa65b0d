"""Small parts that the readers of official layouts share: finding the root, reading lists, saying what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ports.datasets.matfile import MatError, read_mat5
from ports.datasets.split import DatasetError


class LayoutError(DatasetError):
    """The folder holds nothing of the data set's layout, or only a part: which files were not found."""


def find_root(root: str | Path, dataset: str, *needed: str) -> Path:
    """The folder that holds all of `needed` (names below it): `root` itself, or the only folder in it that does.

    So both `--data SOP` and `--data folder/that/holds/SOP` work; anything else is a LayoutError that lists what was sought.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        kind = "is a file, not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"{root}: {kind} ({dataset} is expected there, with {', '.join(needed)})")
    candidates = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
    complete = [c for c in candidates if all((c / name).exists() for name in needed)]
    if len(complete) == 1 or (complete and complete[0] == root):
        return complete[0].resolve()
    if complete:
        raise DatasetError(f"{root}: more than one folder looks like {dataset}: {', '.join(map(str, complete))}")
    missing = [name for name in needed if not (root / name).exists()]
    raise LayoutError(f"{root}: not {dataset}: {', '.join(missing)} not found there")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, stripped text) of each non-empty line; UTF-8 with or without a byte order mark."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"{path}: file not found") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: byte {error.start}: not UTF-8 text") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def read_mat(path: Path) -> dict[str, Any]:
    """Variables of a .mat file (v5, 6, 7), see `matfile.read_mat5`. DatasetError with the file for any other."""
    if not path.is_file():
        raise DatasetError(f"{path}: file not found")
    try:
        return read_mat5(path.read_bytes())
    except MatError as error:
        raise DatasetError(f"{path}: not a readable .mat file ({error})") from None


def to_int(text: str, path: Path, line: int, what: str) -> int:
    """`text` as a whole number, or an error with file and line."""
    try:
        number = int(text)
    except ValueError:
        raise DatasetError(f"{path}:{line}: {what} must be a whole number, got {text[:100]!r}") from None
    if not -(1 << 63) <= number < 1 << 63:
        raise DatasetError(f"{path}:{line}: {what} {text[:100]} is beyond 64 bits")
    return number


def safe_path(text: str, path: Path, line: int) -> str:
    """An image path from a list: relative and inside the data set, with forward slashes."""
    text = text.replace("\\", "/")
    if not text or text.startswith("/") or ".." in text.split("/") or "\0" in text or text[1:2] == ":":
        raise DatasetError(f"{path}:{line}: image path {text!r} leaves the data set")
    return text
