"""Recipes set up for the parts: engines alone, and whole runs on the letters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.setting import Setting, loader_workers
from paper_recipes.recipe import Recipe
from paper_recipes.registry import get
from paper_recipes.runner.data import pictures, run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.data.batches import make_pipeline, side
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.processes import Replicas
from paper_recipes.runner.training.parts import make_engine, make_sampler
from paper_recipes.runner.training.state import Run
from ports import determinism

RECIPES = ("rll-sop", "osm-cub", "ms-cub", "cls-cub")


def plan_of(recipe: Recipe, setting: Setting, steps: int, stops: set[int], evaluations: set[int]) -> scales.Plan:
    """The recipe's own batch on all letters (at toy size its smallest); few test letters, so that evaluations are short."""
    plan = scales.embedded(recipe, steps, full_batch=not setting.toy, smoke=setting.toy)
    plan = replace(plan, snapshots=frozenset(stops), evaluations=frozenset(evaluations))
    small = recipe.embedded
    return plan if setting.toy else replace(plan, test_classes=small.test_classes, test_pictures=small.test_pictures)


def open_run(
    name: str, setting: Setting, out: Path, *, steps: int, stops: set[int], evaluations: set[int], processes: int = 1
) -> Run:
    """A run as `python -m paper_recipes run NAME --full-batch` makes it. processes: how many of them load at a time."""
    recipe = get(name)
    determinism.configure(recipe.seed, cudnn=recipe.cudnn)
    device = torch.device(setting.device)
    plan = plan_of(recipe, setting, steps, stops, evaluations)
    data = pictures.looked_at(run_data.open_embedded(recipe, plan, recipe.seed), progress=False)
    workers = 0 if setting.toy else loader_workers(plan.sampler.batch_size * image_bytes(recipe), processes, 8)
    print(f"{name}: batch {plan.sampler.batch_size}, {workers} loaders", flush=True)
    return Run(
        recipe=recipe,
        plan=plan,
        data=data,
        engine=make_engine(recipe, plan, data, device=device, seed=recipe.seed),
        pipeline=make_pipeline(recipe),
        sampler=make_sampler(plan, data, recipe.seed),
        out=out,
        seed=recipe.seed,
        device=device,
        workers=workers,
    )


def double_engine(recipe: Recipe, device: torch.device, replicas: Replicas | None = None) -> CaffeEngine:
    """A Caffe recipe's in float64 and without dropout, whose numbers each device and process draws for itself."""
    made = CaffeEngine(recipe.the_caffe(), device=device, seed=recipe.seed, replicas=replicas, dtype=torch.float64)
    for layer in made.solver.net:
        if layer.layer_type == "Dropout":
            layer.ratio = 0.0
    return made


def image_bytes(recipe: Recipe) -> int:
    return 3 * 4 * side(recipe) ** 2


def random_batch(recipe: Recipe, classes: int, each: int, seed: int, dtype: torch.dtype) -> tuple[Any, torch.Tensor]:
    """Noise, so that no two values of a pooling window tie; labels class after class."""
    generator = torch.Generator().manual_seed(seed)
    pixels = side(recipe)
    images = 60 * torch.randn(classes * each, 3, pixels, pixels, generator=generator, dtype=dtype)
    return images, torch.arange(float(classes)).repeat_interleave(each)
