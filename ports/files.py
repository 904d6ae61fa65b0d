"""Files that are either whole or absent, and what is in them."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = re.compile(
    r"\.[0-9a-f]{8}\.partial$|^\.tmp[0-9A-Za-z]{6}$"
)  # ours; safetensors' own, beside what it writes


@contextmanager
def atomic_path(path: str | Path, *, parents: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; it becomes `path` when the block ends well and vanishes otherwise.

    Args:
        path: where the file is to be; one that is there already is replaced at the end, and stays where the block fails.
        parents: make the folder where there is none.

    Raises:
        FileNotFoundError: there is no such folder.
        OSError: the disk is full or not writable; the message names `path`, not the temporary one.
    """
    path = Path(path)
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    # Not the whole name: one of 255 bytes has no room for an ending.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # safetensors makes its files for the owner alone
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, temporary, str(temporary)):
            raise  # of another file, which the block read
        raise OSError(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0o077)  # it cannot be read without being set
    os.umask(mask)
    return mask


def sweep(*folders: Path) -> None:
    """Remove what killed processes left of files that they were writing. For folders that nobody else writes to now."""
    for folder in folders:
        for path in folder.glob(".*"):
            if _TEMPORARY.search(path.name) and path.is_file():
                path.unlink(missing_ok=True)
