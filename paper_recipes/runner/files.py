"""JSON files and digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ports.files import atomic_path


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON, which has no NaN and no infinity, whole or not at all, and the folder where there is none.

    Raises ValueError with the file for data that holds one.
    """
    try:
        text = json.dumps(data, indent=1, sort_keys=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: holds a number that is not finite ({error})") from error
    with atomic_path(path, parents=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is no such file. Raises ValueError with the file where it is none."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The object that a JSON file holds. Raises ValueError that says of which file it is not `what`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not {what}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: not {what}, but a JSON {type(found).__name__}")
    return found
