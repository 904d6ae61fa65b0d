"""One process at a time: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix: nobody is kept out
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def alone(path: Path, *, waiting: Callable[[], object] = lambda: None) -> Iterator[bool]:
    """Hold the lock file `path` (made and removed here) while the block runs; `waiting` is called before a wait.

    Gives False where the file system has no locks: others may be in the block, too. Raises OSError where `path` cannot be
    written.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        held = _lock(handle, waiting)
        while held and not _is_still(handle, path):  # the one before us has removed the file that we have waited for
            os.close(handle)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            held = _lock(handle, waiting)
        try:
            yield held
        finally:
            if held:
                path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _lock(handle: int, waiting: Callable[[], object]) -> bool:
    if fcntl is None:
        return False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
