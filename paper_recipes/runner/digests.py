"""sha256 of many files, remembered by size and times, so that the second look costs one `stat` each.

The memory is a small SQLite file in the user's cache folder. It saves time and decides nothing: where it cannot be read or
written (a read-only cache, another program's file), the files are read.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ports.files import sha256

_TABLE = (
    "CREATE TABLE IF NOT EXISTS file (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, sha256 BLOB NOT NULL) WITHOUT ROWID"
)
_AT_ONCE = 500  # SQLite's oldest limit is 999 parameters a statement
# A file that was written this close to its reading may be written again without another time: some file systems count in
# steps of two seconds. It is not remembered.
_YOUNG = 2.0
_THREADS = 8  # they wait for the disk; hashing itself leaves the interpreter's lock, too


def of_files(
    files: Sequence[str], memory: Path | None, *, progress: Callable[[int], object] = lambda count: None
) -> list[bytes]:
    """32 bytes for each file, in order. `memory`: the SQLite file; None: read everything.

    progress: called with how many more files are done. Raises OSError naming a file that cannot be read.
    """
    unique = list(dict.fromkeys(os.path.abspath(file) for file in files))
    stamps = {file: _stamp(file) for file in unique}
    with _opened(memory) as database:
        known = {file: sha256 for file, stamp, sha256 in _remembered(database, unique) if stamps[file] == stamp}
        progress(len(known))
        missing = [file for file in unique if file not in known]
        with ThreadPoolExecutor(_THREADS) as pool:
            for file, sha256 in zip(missing, pool.map(of_file, missing)):
                known[file] = sha256
                progress(1)
        now = time.time()
        rows = [(file, _stamp(file), known[file]) for file in missing if now - _newest(file) > _YOUNG]
        _remember(database, [row for row in rows if row[1] == stamps[row[0]]])
    return [known[os.path.abspath(file)] for file in files]


def of_file(file: str | Path) -> bytes:
    return bytes.fromhex(sha256(file))


def _stamp(file: str) -> str:
    """Size and times. The time of the last change of the entry cannot be set back, as that of the content can."""
    facts = os.stat(file)
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"


def _newest(file: str) -> float:
    facts = os.stat(file)
    return max(facts.st_mtime, facts.st_ctime)


@contextlib.contextmanager
def _opened(memory: Path | None) -> Iterator[sqlite3.Connection | None]:
    database = None
    if memory is not None:
        with contextlib.suppress(OSError, sqlite3.Error):
            memory.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(memory, timeout=10)
            database.execute(_TABLE)
    try:
        yield database
    finally:
        if database is not None:
            database.close()


def _remembered(database: sqlite3.Connection | None, files: list[str]) -> list[tuple[str, str, bytes]]:
    rows: list[tuple[bytes, str, bytes]] = []
    if database is not None:
        with contextlib.suppress(sqlite3.Error):
            for first in range(0, len(files), _AT_ONCE):
                some = [os.fsencode(file) for file in files[first : first + _AT_ONCE]]
                places = ",".join("?" * len(some))
                asked = f"SELECT path, stamp, sha256 FROM file WHERE path IN ({places})"  # noqa: S608 - question marks alone
                rows += database.execute(asked, some).fetchall()
    return [(os.fsdecode(path), stamp, sha256) for path, stamp, sha256 in rows]


def _remember(database: sqlite3.Connection | None, rows: list[tuple[str, str, bytes]]) -> None:
    if database is not None and rows:
        with contextlib.suppress(sqlite3.Error), database:
            named = [(os.fsencode(file), stamp, sha256) for file, stamp, sha256 in rows]
            database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", named)
