"""Reading the recorded numbers: a file whose sha256 is not the one in data/digests.json is refused. Needs neither NumPy nor torch."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from .files import write_atomically

DATA = Path(__file__).with_name("data")
DIGESTS = "digests.json"


class DamagedError(ValueError):
    """A data file is not the one that was recorded, is missing, or is not listed."""


@cache
def digests() -> dict[str, str]:
    """File below golden/data (with `/`) -> sha256 in hexadecimal. DamagedError if the list itself cannot be read."""
    try:
        found = json.loads((DATA / DIGESTS).read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedError(f"{DATA / DIGESTS}: cannot be read as a list of digests ({error})") from None


def read_bytes(name: str) -> bytes:
    """The bytes of a data file. Hashing costs a millisecond per megabyte, less than unpacking it; so it is done at every reading."""
    path = DATA / name
    if name not in digests():
        raise DamagedError(f"{path} is not listed in {DIGESTS}; `python tools/write_digests.py` lists new data")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != digests()[name]:
        raise DamagedError(
            f"{path} is not the file that was recorded: its sha256 begins with {found[:12]}, that of the record "
            f"with {digests()[name][:12]}"
        )
    return content


def read_json(name: str) -> Any:
    """What a JSON data file holds."""
    return json.loads(read_bytes(name))


def present() -> list[str]:
    """Names of the files that lie in golden/data, but for the list of digests; hidden files do not count."""
    files = (path.relative_to(DATA) for path in DATA.rglob("*") if path.is_file())
    return sorted(name.as_posix() for name in files if name.as_posix() != DIGESTS and not name.name.startswith("."))


def write_digests() -> dict[str, str]:
    """Rewrite the list for the files that lie there now; what it was before. Where there was none: empty."""
    path = DATA / DIGESTS
    before = dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    now = {name: hashlib.sha256((DATA / name).read_bytes()).hexdigest() for name in present()}
    write_atomically(path, (json.dumps(now, indent=1) + "\n").encode())
    digests.cache_clear()
    return before


def problems() -> list[str]:
    """One line for each data file that is damaged, missing or not listed."""
    found = []
    for name in sorted({*digests(), *present()}):
        try:
            read_bytes(name)
        except DamagedError as error:
            found.append(str(error))
    return found
