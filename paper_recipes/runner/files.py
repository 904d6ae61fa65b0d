"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}$")


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write(temporary path)` in the same folder, then rename to `path`. A failure leaves nothing behind.

    Raises `OSError` naming `path` if the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write(temporary)
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def sweep(*folders: Path) -> None:
    """Remove what killed processes left of files that they were writing. For folders that nobody else writes to now."""
    for folder in folders:
        for path in folder.glob(".*"):
            if _TEMPORARY.search(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Strict JSON, which has no NaN and no infinity: raises ValueError with the file for data that holds one."""
    try:
        text = json.dumps(data, indent=1, sort_keys=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: holds a number that is not finite ({error})") from error

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is no such file. Raises ValueError with the file where it is none."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
