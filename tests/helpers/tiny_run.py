"""A whole run of the tiny recipe on a few striped pictures, by `run` itself: run.json, manifest, embeddings, checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import tiny
from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner import run as runner
from paper_recipes.runner.evidence.row import unverified

ITERATIONS = 6  # checkpoints and evaluations at every one of them, and an evaluation before the first


def know(patch: pytest.MonkeyPatch) -> None:
    """The tiny recipe is one of the registry's, and its chain of evidence is not computed."""
    patch.setitem(registry.RECIPES, "tiny", tiny.recipe())
    patch.setattr(
        runner, "chain", lambda *args: [unverified("images", "-", "not computed for the tiny recipe").as_cells()]
    )


def make_pictures(root: Path, classes: int = 6, count: int = 4) -> Path:
    for label in range(classes):
        (root / f"class_{label}").mkdir(parents=True)
        for i in range(count):
            rng = np.random.default_rng([label, i])
            stripes = 120 + 6 * np.sin(np.arange(90) * (label + 60) / 70)[None, :, None]
            pixels = np.clip(stripes + rng.normal(0, 90, (70, 90, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"class_{label}" / f"{i}.png")
    return root


def run(out: Path, data: Path, *, recipe: Recipe | None = None, **options) -> int:
    """A batch of two classes: `know` first."""
    recipe = recipe or registry.get("tiny+sampler.classes_per_batch=2")
    return runner.run(recipe, runner.Options(data=data, out=out, iterations=ITERATIONS, workers=0, **options))
