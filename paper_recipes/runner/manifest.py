"""manifest.json of a run directory: every file with its size and sha256, written as the run goes.

Files that grow line by line (`.jsonl`) are sealed in parts, each from the end of the one before it, so that what is changed
later is found between two seals and the seals of earlier parts stay. What a killed run wrote after its last seal is not in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paper_recipes.runner.files import read_json, write_json
from ports.files import sha256
from ports.locks import alone

FILE = "manifest.json"
FORMAT = "dml-ports manifest 1"


def begin(out: Path) -> None:
    """A run starts in `out`: nothing is sealed yet."""
    (out / FILE).unlink(missing_ok=True)


def seal(out: Path, *names: str) -> None:
    """Take the files as they are now into the manifest; names are below `out`, with forward slashes. A name that is not there
    (any more) is left out.
    """
    with alone(out / f".{FILE}.lock"):  # `report` beside a running run seals, too
        files = read(out)
        for name in names:
            path = out / name
            if not path.is_file():
                files.pop(name, None)
            elif path.suffix == ".jsonl":
                files[name] = {"parts": _parts(path, files.get(name, {}).get("parts", []))}
            else:
                files[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        write_json(out / FILE, {"format": FORMAT, "files": dict(sorted(files.items()))})


def _parts(path: Path, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`parts` as far as the file still has them (a resume cuts it at its checkpoint), and one for what came since."""
    size, kept, end = path.stat().st_size, [], 0
    for part in parts:
        if end + part["bytes"] > size:
            break
        kept.append(part)
        end += part["bytes"]
    if end < size:
        with open(path, "rb") as file:
            file.seek(end)
            new = file.read()
        kept.append({"lines": new.count(b"\n"), "bytes": len(new), "sha256": hashlib.sha256(new).hexdigest()})
    return kept


def read(out: Path) -> dict[str, Any]:
    """Name -> what is sealed of it; empty where there is no manifest. Raises ValueError for a file that is none."""
    content = read_json(out / FILE)
    if content is None:
        return {}
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("files"), dict):
        raise ValueError(f"{out / FILE}: not a manifest of this program (its format is not {FORMAT!r})")
    return content["files"]


def differences(out: Path, *, of_file: Callable[[Path], str] = sha256) -> Iterator[str]:
    """What is not as it was sealed, a line each. `of_file`: the sha256 of a file, or one that remembers."""
    for name, facts in read(out).items():
        path = out / name
        if not path.is_file():
            yield f"{name} is missing"
        elif "parts" in facts:
            yield from _changed_lines(path, name, facts["parts"])
        elif (found := of_file(path)) != facts["sha256"]:
            yield f"{name} is not as it was written: its sha256 is {found[:16]}, it was {facts['sha256'][:16]}"


def _changed_lines(path: Path, name: str, parts: list[dict[str, Any]]) -> Iterator[str]:
    data, place, line = path.read_bytes(), 0, 1
    for part in parts:
        content = data[place : place + part["bytes"]]
        if hashlib.sha256(content).hexdigest() != part["sha256"]:
            last = line + part["lines"] - 1
            yield f"{name}: {f'line {line} is' if last == line else f'lines {line} to {last} are'} not as it was written"
            return
        place, line = place + part["bytes"], line + part["lines"]
