"""A set of letters of which only some pictures have been drawn: what a folder holds, written down in `drawn.json`.

Pictures come into the folder whole (renamed from a folder beside it), and count once they are in the record, with the number of
bytes that they have. Whoever is stopped before that leaves pictures that are drawn again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from ports.datasets.glyph_drawing import FORMAT

RECORD = "drawn.json"
_TABLE = Path(__file__).with_name("letters.sha256")  # two bytes of each picture's digest, in the order of the lists
_BYTES = 2


def drawn(root: Path) -> dict[str, bytes]:
    """Digests of the pictures that `root` holds, by path. A damaged record, or one of another format, counts for nothing."""
    try:
        record = json.loads((root / RECORD).read_text(encoding="ascii"))
        if record["format"] != FORMAT:
            return {}
        sizes = _sizes(root)
        return {
            path: bytes.fromhex(text) for path, (text, size) in record["pictures"].items() if sizes.get(path) == size
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def add(root: Path, work: Path, digests: Mapping[str, bytes]) -> dict[str, bytes]:
    """Take pictures over from `work`; the digests of all that `root` holds then. One process at a time."""
    before = drawn(root)
    if not (root / RECORD).is_file():  # first, so that a folder is known as ours whenever somebody is stopped
        _write(root, {})
    for path in digests:
        (root / path).parent.mkdir(exist_ok=True)
        os.replace(work / path, root / path)
    together = {**before, **digests}
    _write(root, together)
    return together


def _write(root: Path, digests: Mapping[str, bytes]) -> None:
    sizes = _sizes(root)
    pictures = {path: [digest.hex(), sizes[path]] for path, digest in digests.items()}
    new = root / f".{RECORD}.new"
    new.write_text(json.dumps({"format": FORMAT, "pictures": pictures}) + "\n", encoding="ascii")
    os.replace(new, root / RECORD)


def _sizes(root: Path) -> dict[str, int]:
    """Bytes of each picture by path: a power cut or a full disk leaves less than was written."""
    return {
        f"{folder.name}/{file.name}": file.stat().st_size
        for folder in root.glob("*_final")
        for file in os.scandir(folder)
    }


@cache
def _table() -> bytes:
    return _TABLE.read_bytes()


def pack(digests: Iterable[bytes]) -> bytes:
    """The table's bytes of all pictures' digests, in the order of the lists."""
    return b"".join(digest[:_BYTES] for digest in digests)


def as_pinned(digests: Mapping[str, bytes], paths: list[str]) -> bool:
    """Are these the pixels of the pinned versions? `paths`: of the whole set, in the order of the lists."""
    table = _table()
    if len(table) != _BYTES * len(paths):
        return False
    at = {path: _BYTES * i for i, path in enumerate(paths)}
    return all(table[at[path] : at[path] + _BYTES] == digest[:_BYTES] for path, digest in digests.items())
