"""Unpack one archive into a folder: safely (nothing leaves the folder), resumably, with a progress bar.

All members are looked at before the first is written: names, kinds, sizes, free space. A member is written beside its place
and renamed when complete, so a file that has its name is whole; a second run skips those that are there with the announced
size.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ports.bounded import budget
from ports.datasets.split import DatasetError
from ports.progress import bar as bar_of

TAR_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
JUNK = ("__MACOSX/",)  # what macOS' Finder adds to zips
PASSWORD_HELP = (
    "it is protected by a password, as DeepFashion's are: the authors send it on request once their agreement is "
    "signed; give it as the password, or unpack the archive yourself and name its folder"
)
#: The largest official archive has 1.2 million members; no official path has 10 folders or 200 characters.
MAX_MEMBERS, MAX_DEPTH, MAX_NAME, MAX_PATH = 5_000_000, 32, 255, 1000


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".zip", *TAR_ENDINGS))


def extract(archive: Path, folder: Path, *, password: str | None = None, progress: bool = True) -> int:
    """Unpack a .zip or .tar(.gz, .bz2, .xz) below `folder`; returns how many files were written (not skipped).

    Raises DatasetError: not an archive, truncated or damaged (which member), a member that would leave the folder, is a
    link or device, or has a name that no file can have, a password that is wanted or wrong, more content than
    `ports.bounded.budget` of the archive's size, too little disk space. Looking first costs a compressed .tar a second
    pass of decompression.
    """
    if not archive.is_file():
        raise DatasetError(f"{archive}: archive not found")
    folder.mkdir(parents=True, exist_ok=True)
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    _look(archive, folder, members(archive, password))
    written = 0
    bar: Any = bar_of(archive.stat().st_size, archive.name, "B", unit_scale=True, wanted=progress)
    with bar:
        for name, size, position, reader in _readable(archive, members(archive, password)):
            target = _target(folder, name, archive)
            bar.update(max(0, position - bar.n))
            if target is None or (target.is_file() and target.stat().st_size == size):
                continue
            _write(target, reader, size, f"{archive}: truncated or damaged at {name}")
            written += 1
    return written


Members = Iterator[tuple[str, int, int, Any]]


def _readable(archive: Path, members: Members) -> Members:
    """`members`, with whatever the archive modules raise on damage as DatasetError."""
    last = "its start"
    while True:
        try:
            member = next(members)
        except StopIteration:
            return
        except DatasetError:
            raise
        except NotImplementedError as error:
            raise DatasetError(f"{archive}: {error}; unpack it with another program and name its folder") from None
        except (
            Exception
        ) as error:  # a dozen kinds: BadZipFile, TarError, zlib, lzma, struct, OSError without a name ...
            raise DatasetError(f"{archive}: truncated or damaged at {last} ({str(error)[:200]})") from None
        last = member[0]
        yield member


def _look(archive: Path, folder: Path, members: Members) -> None:
    """Refuse before anything is written."""
    size = archive.stat().st_size
    limit, total, missing, count = budget(size), 0, 0, 0
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for name, length, _, _ in _readable(archive, members):
        count, total = count + 1, total + length
        if total > limit or count > MAX_MEMBERS or length < 0:
            raise DatasetError(
                f"{archive}: {size:,} bytes would unpack to more than {limit:,} bytes or {MAX_MEMBERS:,} files; no data set"
                " does that. If you trust it, unpack it yourself and name its folder"
            )
        target = _target(folder, name, archive)
        if target is None:
            continue
        path = PurePosixPath(target.relative_to(folder).as_posix())
        files.add(path)
        folders.update(path.parents)
        if not target.exists():
            missing += length
    both = files & folders
    if both:
        raise DatasetError(f"{archive}: {sorted(both)[0]} is a file and a folder in it")
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise DatasetError(f"{archive}: needs {total / 1e9:.1f} GB unpacked, {free / 1e9:.1f} GB are free in {folder}")


def _target(folder: Path, name: str, archive: Path) -> Path | None:
    """Where a member goes; None for what no one needs. Refuses names that lead outside or that no file can have."""
    clean = name.replace("\\", "/")
    parts = clean.split("/")
    if clean.startswith("/") or ".." in parts or clean[1:2] == ":" or "\0" in clean:
        raise DatasetError(
            f"{archive}: member {name[:200]!r} would be written outside the folder; nothing of it is trusted"
        )
    if clean.startswith(JUNK) or parts[-1].startswith("._"):
        return None
    parts = [p for p in parts if p not in ("", ".")]
    encoded = [os.fsencode(p) if _encodable(p) else b"" for p in parts]
    if not parts or not all(encoded) or clean.endswith("/"):
        raise DatasetError(f"{archive}: member {name[:200]!r} has no name that a file can have")
    if len(parts) > MAX_DEPTH or max(map(len, encoded)) > MAX_NAME or sum(map(len, encoded)) > MAX_PATH:
        raise DatasetError(
            f"{archive}: member {name[:100]!r}... has {len(parts)} folders or a name of {max(map(len, encoded))} bytes; "
            f"{MAX_DEPTH} and {MAX_NAME} are the most that is unpacked"
        )
    return folder.joinpath(*parts)


def _encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _write(target: Path, reader: IO[bytes], size: int, damage: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:80]}.partial")  # a name of 255 bytes has no room for an ending
    try:
        with reader, open(partial, "wb") as out:
            left = size
            while left:
                block = _read(reader, min(left, 1 << 20), damage)
                if not block:
                    raise DatasetError(f"{damage} ({size - left:,} of {size:,} bytes)")
                out.write(block)
                left -= len(block)
            if _read(reader, 1, damage):  # at its end zipfile compares the checksum
                raise DatasetError(f"{damage} (more than its {size:,} bytes)")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _read(reader: IO[bytes], size: int, damage: str) -> bytes:
    try:
        return reader.read(size)
    except DatasetError:
        raise
    except NotImplementedError as error:
        raise DatasetError(f"{damage}: {error}; unpack it with another program and name its folder") from None
    except Exception as error:  # as in `_readable`
        raise DatasetError(f"{damage} ({type(error).__name__}: {str(error)[:200]})") from None


def _zip_members(archive: Path, password: str | None) -> Members:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.is_dir():
                continue
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise DatasetError(f"{archive}: member {info.filename!r} is a link; refused")
            if info.flag_bits & 1 and password is None:
                raise DatasetError(f"{archive}: {PASSWORD_HELP}")
            yield info.filename, info.file_size, info.header_offset, _ZipReader(file, info, password, archive)


class _ZipReader:
    """Opens its member at the first read: members that are skipped cost nothing."""

    def __init__(self, file: zipfile.ZipFile, info: zipfile.ZipInfo, password: str | None, archive: Path) -> None:
        self.file, self.info, self.archive = file, info, archive
        self.password = None if password is None else password.encode()
        self.stream: IO[bytes] | None = None

    def read(self, size: int = -1) -> bytes:
        if self.stream is None:
            try:
                self.stream = self.file.open(self.info, pwd=self.password)
            except RuntimeError as error:  # zipfile's way to say that the password is wrong
                raise DatasetError(f"{self.archive}: {self.info.filename}: {error}; {PASSWORD_HELP}") from None
        return self.stream.read(size)

    def __enter__(self) -> _ZipReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            self.stream.close()


class _ShortReads:
    """A decompressed .tar that hands out no more than a header or a block at once: tarfile reads what a header claims."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 16 << 20:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self.stream.read(size)


def _tar_members(archive: Path, password: str | None) -> Members:
    del password
    with open(archive, "rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        stream: Any = raw
        if magic.startswith(b"\x1f\x8b"):
            stream = gzip.GzipFile(fileobj=raw)
        elif magic.startswith(b"BZh"):
            stream = bz2.BZ2File(raw)
        elif magic == b"\xfd7zXZ\0":
            stream = lzma.LZMAFile(raw)  # noqa: SIM115 - closed with `raw`, which it reads
        with tarfile.open(fileobj=_ShortReads(stream), mode="r:") as file:  # type: ignore[call-overload]
            for info in file:
                # Else every header stays in memory, a million of them in MARS.
                file.members = []  # type: ignore[attr-defined]
                if info.isdir():
                    continue
                if not info.isfile():
                    raise DatasetError(f"{archive}: member {info.name!r} is a link or device; refused")
                yield info.name, info.size, raw.tell(), file.extractfile(info)
