"""The lock file: name -> fingerprint of every frozen recipe.

A recipe that changes by accident no longer fits its line in `fingerprints.json`, and a test says so. Where the change is
meant, `python -m paper_recipes lock` rewrites the file; the difference is then seen in review.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from paper_recipes.recipe import Recipe
from ports.files import atomic_path

FILE = Path(__file__).with_name("fingerprints.json")


def read(file: Path = FILE) -> dict[str, str]:
    """Name -> fingerprint as last locked."""
    return json.loads(file.read_text(encoding="utf-8"))


def changes(recipes: Mapping[str, Recipe], file: Path = FILE) -> list[str]:
    """One line for each recipe that is not as locked: changed, new, or gone. Empty when all are frozen."""
    locked = read(file) if file.exists() else {}
    now = {name: recipe.fingerprint() for name, recipe in recipes.items()}
    lines = [f"{name}: new, not locked" for name in now if name not in locked]
    lines += [f"{name}: locked, but there is no such recipe" for name in locked if name not in now]
    lines += [
        f"{name}: changed, its fingerprint is {now[name][:16]}, locked is {locked[name][:16]}"
        for name in now
        if name in locked and now[name] != locked[name]
    ]
    return lines


def write(recipes: Mapping[str, Recipe], file: Path = FILE) -> None:
    """Lock the recipes as they are now, in the registry's order."""
    text = json.dumps({name: recipe.fingerprint() for name, recipe in recipes.items()}, indent=1) + "\n"
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
