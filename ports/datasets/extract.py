"""Unpack one archive into a folder: safely (nothing leaves the folder), resumably, with a progress bar.

A member is written beside its place and renamed when complete, so a file that has its name is whole; a second run skips
those that are there with the announced size.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ports.datasets.split import DatasetError

TAR_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
JUNK = ("__MACOSX/",)  # what macOS' Finder adds to zips
PASSWORD_HELP = (
    "it is protected by a password, as DeepFashion's are: the authors send it on request once their agreement is "
    "signed; give it as the password, or unpack the archive yourself and name its folder"
)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith((".zip", *TAR_ENDINGS))


def extract(archive: Path, folder: Path, *, password: str | None = None, progress: bool = True) -> int:
    """Unpack a .zip or .tar(.gz, .bz2, .xz) below `folder`; returns how many files were written (not skipped).

    Raises DatasetError: not an archive, truncated or damaged (which member), a member that would leave the folder or is
    a link or device, a password that is wanted or wrong, too little disk space.
    """
    from tqdm import tqdm

    if not archive.is_file():
        raise DatasetError(f"{archive}: archive not found")
    folder.mkdir(parents=True, exist_ok=True)
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    written = 0
    member = "its start"
    bar: Any = tqdm(total=archive.stat().st_size, unit="B", unit_scale=True, desc=archive.name, disable=not progress)
    try:
        with bar:
            for name, size, position, reader in members(archive, folder, password):
                member = name
                target = _target(folder, name, archive)
                bar.update(max(0, position - bar.n))
                if target is None or (target.is_file() and target.stat().st_size == size):
                    continue
                _write(target, reader, size)
                written += 1
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DatasetError(f"{archive}: truncated or damaged at {member} ({error})") from None
    except NotImplementedError as error:
        raise DatasetError(
            f"{archive}: {member}: {error}; unpack it with another program and name its folder"
        ) from None
    return written


def _target(folder: Path, name: str, archive: Path) -> Path | None:
    """Where a member goes; None for what no one needs. Refuses names that lead outside."""
    clean = name.replace("\\", "/")
    parts = clean.split("/")
    if clean.startswith("/") or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":") or "\0" in clean:
        raise DatasetError(f"{archive}: member {name!r} would be written outside the folder; nothing of it is trusted")
    if clean.startswith(JUNK) or parts[-1].startswith("._"):
        return None
    return folder.joinpath(*[p for p in parts if p not in ("", ".")])


def _write(target: Path, reader: IO[bytes], size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    try:
        with reader, open(partial, "wb") as out:
            shutil.copyfileobj(reader, out, 1 << 20)
        if partial.stat().st_size != size:
            raise EOFError(f"{partial.stat().st_size:,} of {size:,} bytes")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _zip_members(archive: Path, folder: Path, password: str | None) -> Iterator[tuple[str, int, int, Any]]:
    with zipfile.ZipFile(archive) as file:
        entries = [info for info in file.infolist() if not info.is_dir()]
        needed, free = sum(info.file_size for info in entries), shutil.disk_usage(folder).free
        missing = [i for i in entries if (t := _target(folder, i.filename, archive)) is not None and not t.exists()]
        if sum(info.file_size for info in missing) > free:
            raise DatasetError(
                f"{archive}: needs {needed / 1e9:.1f} GB unpacked, {free / 1e9:.1f} GB are free in {folder}"
            )
        for info in entries:
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


def _tar_members(archive: Path, folder: Path, password: str | None) -> Iterator[tuple[str, int, int, Any]]:
    del folder, password
    with open(archive, "rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as file:
        for info in file:
            if info.isdir():
                continue
            if not info.isfile():
                raise DatasetError(f"{archive}: member {info.name!r} is a link or device; refused")
            yield info.name, info.size, raw.tell(), file.extractfile(info)
