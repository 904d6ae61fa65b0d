"""Fetch a freely offered archive: resumable, checked, whole or absent.

FOLDER/NAME.part         what has come so far
FOLDER/NAME.part.json    of which version of the file: its address and what the server calls it (ETag or Last-Modified)
FOLDER/NAME              the whole file, after its size and checksum were looked at
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from ports.datasets.offer import Archive
from ports.datasets.split import DatasetError
from ports.files import atomic_path
from ports.locks import alone
from ports.progress import bar as bar_of

TIMEOUT = 60.0  # seconds without a byte
_PIECE = 1 << 20


class DownloadError(DatasetError):
    """A file that did not come, or is not what it should be: which address, and why."""


def fetch(archive: Archive, folder: Path, *, progress: bool = True) -> Path:
    """`archive` as a file in `folder`, which is made; one that is there already is not fetched again.

    Interrupted, the next call goes on at the byte where it stopped, if the server still has the same version of the file and
    says so; otherwise it begins anew.

    Raises:
        DownloadError: the address cannot be reached or has not the file, the connection ends early, the disk is too small, or
            size or checksum are others than those known; what came of a wrong file is removed.
    """
    if not re.match(r"https?://", archive.url):
        raise DownloadError(f"{archive.name}: {archive.url or 'no address'} is not one of http or https")
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / archive.name, folder / f"{archive.name}.part"
    try:
        with alone(folder / f".{archive.name}.lock"):
            if not target.is_file():
                _whole(archive, part, progress)
                os.replace(part, target)
                _note(part).unlink(missing_ok=True)
    finally:
        if not any(folder.iterdir()):  # nothing came
            folder.rmdir()
    return target


def _whole(archive: Archive, part: Path, progress: bool) -> None:
    """`part` with all bytes, looked at."""
    try:
        _receive(archive, part, progress)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        raise DownloadError(f"{archive.url}: {_why(error)}{_kept(part)}") from error
    _check(archive, part)


def _receive(archive: Archive, part: Path, progress: bool) -> None:
    start = part.stat().st_size if part.is_file() else 0
    version = _version(archive, part) if start else ""
    asked = {"User-Agent": "dml-ports", "Accept-Encoding": "identity"}
    if version:
        asked |= {"Range": f"bytes={start}-", "If-Range": version}
    # fetch has looked at the scheme.
    request = urllib.request.Request(archive.url, headers=asked)  # noqa: S310
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{start}":
                return  # stopped after the last byte
            if error.code != 416:
                raise
        part.unlink()
        return _receive(archive, part, progress)
    with response:
        start = _first_byte(response, start)
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if archive.size is not None and total not in (None, archive.size):
            raise DownloadError(f"{archive.url}: the server has {total:,} bytes, {archive.name} has {archive.size:,}")
        if total is not None and shutil.disk_usage(part.parent).free < total - start:
            raise DownloadError(f"{part.parent}: too little space for {total - start:,} bytes of {archive.name}")
        etag = response.headers.get("ETag", "")
        known_as = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        with atomic_path(_note(part)) as temporary:
            temporary.write_text(json.dumps({"url": archive.url, "version": known_as}) + "\n", encoding="utf-8")
        _write(response, part, start, total, archive.name, progress)
    if total is not None and part.stat().st_size != total:
        raise DownloadError(f"{archive.url}: the connection ended{_kept(part, total)}")


def _write(response: HTTPResponse, part: Path, start: int, total: int | None, name: str, progress: bool) -> None:
    bar = bar_of(total, name, "B", initial=start, unit_scale=True, leave=False, wanted=progress)
    with bar, open(part, "ab" if start else "wb") as file:
        while piece := response.read(_PIECE):
            file.write(piece)
            bar.update(len(piece))
        file.flush()
        os.fsync(file.fileno())


def _first_byte(response: HTTPResponse, asked: int) -> int:
    """Where the bytes of this answer begin: where they were asked for, or 0 where the server sends the whole file."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != asked:
        raise DownloadError(
            f"{response.url}: asked for bytes from {asked:,}, got {response.headers.get('Content-Range')}"
        )
    return asked


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _version(archive: Archive, part: Path) -> str:
    """What the server called the file that `part` is the beginning of; "" where that is not known."""
    try:
        note: Any = json.loads(_note(part).read_text(encoding="utf-8"))
        return str(note["version"]) if note["url"] == archive.url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _check(archive: Archive, part: Path) -> None:
    wrong = ""
    if archive.size is not None and part.stat().st_size != archive.size:
        wrong = f"{part.stat().st_size:,} bytes instead of {archive.size:,}"
    elif archive.md5:
        with open(part, "rb") as file:
            digest = hashlib.md5(usedforsecurity=False)
            while piece := file.read(_PIECE):
                digest.update(piece)
        if digest.hexdigest() != archive.md5:
            wrong = f"its md5 is {digest.hexdigest()}, that of {archive.name} is {archive.md5}"
    if wrong:
        part.unlink()
        _note(part).unlink(missing_ok=True)
        raise DownloadError(f"{archive.url}: not the file that is known: {wrong}; it was removed")


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"{getattr(reason, 'strerror', None) or reason or type(error).__name__}"


def _kept(part: Path, total: int | None = None) -> str:
    if not part.is_file():
        return ""
    of = "" if total is None else f" of {total:,}"
    return f" after {part.stat().st_size:,} bytes{of}; they are kept, the same command goes on there"
