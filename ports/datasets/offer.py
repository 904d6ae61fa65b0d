"""Where a data set is to be had: its authors' page, the files, their sizes and checksums as far as they are known here."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "not known here"


@dataclass(frozen=True)
class Archive:
    """A file that the data set's host ships.

    name   as the host calls it
    url    where everybody may fetch it (http or https); "" where it is sent on request or behind a page
    size   bytes; None where it is not known here
    md5    hexadecimal; "" where it is not known here. Nobody states a sha256 of these files.
    """

    name: str
    url: str = ""
    size: int | None = None
    md5: str = ""

    def __str__(self) -> str:
        where = self.url or "behind the page"
        size = UNKNOWN if self.size is None else f"{self.size:,} bytes"
        return f"{self.name}: {where}; size {size}; md5 {self.md5 or UNKNOWN}"


@dataclass(frozen=True)
class Offer:
    """page: of the data set's authors. terms: of use, in a line, as far as they are known here; the page decides."""

    page: str
    files: tuple[Archive, ...]
    terms: str = UNKNOWN

    @property
    def free(self) -> bool:
        """May all its files be fetched without asking anybody?"""
        return all(file.url for file in self.files)

    def lines(self) -> list[str]:
        """What to get, where, how large, under which terms."""
        known = sum(file.size or 0 for file in self.files)
        whole = all(file.size is not None for file in self.files)
        return [
            f"page    {self.page}",
            f"terms   {self.terms} (the page decides)",
            f"size    {f'{known / 1e9:.2f} GB to download' if whole else UNKNOWN}",
            *(f"file    {file}" for file in self.files),
        ]
