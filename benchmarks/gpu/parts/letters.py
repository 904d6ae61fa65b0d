"""The letters: drawn with matplotlib's fonts on first use, and looked at once so that no run does it again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.jobs import RECIPES, plan_of
from benchmarks.gpu.setting import Setting, row
from paper_recipes.registry import get
from paper_recipes.runner.data import pictures, run_data
from ports.datasets import glyphs


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    root = run_data.cache_folder() / "glyphs"
    there = (root / glyphs.MARKER).is_file()
    started = time.perf_counter()
    splits = glyphs.build(root, progress=False)
    seconds = time.perf_counter() - started
    count = sum(len(split) for split in splits.values())
    yield row(f"{count} letters", seconds, unit="s", note="were there already" if there else "drawn, one core")
    started = time.perf_counter()
    for name in RECIPES:
        recipe = get(name)
        pictures.looked_at(
            run_data.open_embedded(recipe, plan_of(recipe, setting, 1, {1}, {1}), recipe.seed), progress=False
        )
    yield row("sha256 of the pictures of all runs", time.perf_counter() - started, unit="s")
