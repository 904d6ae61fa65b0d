"""What was run: sources, recipe, data, weights, versions. Written beside every result as run.json."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from paper_recipes.recipe import Recipe
from ports import determinism

_ROOT = Path(__file__).resolve().parents[3]
_VERSIONS = ("torch", "torchvision", "numpy", "scipy", "pillow", "matplotlib", "protobuf", "safetensors")


def git_state() -> dict[str, Any]:
    """Commit of this checkout and whether files differ from it; None where this is an installed package."""

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(_ROOT), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"git_sha": git("rev-parse", "HEAD"), "git_dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"git_sha": None, "git_dirty": None}


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _VERSIONS:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def run_record(
    recipe: Recipe, *, form: str, seed: int, device: str, data: dict, weights: dict | None
) -> dict[str, Any]:
    """The record of a run that starts now. `form` is "embedded" or "full"."""
    return {
        "recipe": recipe.name,
        **({"derived_from": recipe.derived_from, "judged": bool(recipe.expected)} if recipe.derived_from else {}),
        "form": form,
        "fingerprint": recipe.fingerprint(),
        "seed": seed,
        "device": device,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **git_state(),
        "versions": versions(),
        "environment": determinism.environment(),
        "data": data,
        "weights": weights,
    }
