"""Images a second that the loaders give, beside those that the recipe's deterministic step takes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.children import read_rows
from benchmarks.gpu.jobs import image_bytes, plan_of
from benchmarks.gpu.parts.speed import batch_of, engine_of, timed
from benchmarks.gpu.setting import Setting, attempts, loader_workers, row
from paper_recipes.recipe import Recipe
from paper_recipes.registry import get
from paper_recipes.runner.data import run_data
from paper_recipes.runner.data.batches import make_pipeline, train_batches
from paper_recipes.runner.training.parts import make_sampler
from ports import determinism

COUNTS = {"rll-sop": [0, 1, 4, 8, 16], "ms-cub": [8]}
SECONDS = 2.0  # of each, after the loaders have got going


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    yield from attempts(["rll-sop"] if setting.toy else list(COUNTS), lambda name: throughput(name, setting))


def throughput(name: str, setting: Setting) -> Iterator[dict[str, Any]]:
    recipe = get(name)
    needed = images_per_second(name, setting)
    plan = plan_of(recipe, setting, 1000, {1000}, {1000})
    data = run_data.open_embedded(recipe, plan, recipe.seed)
    size = plan.sampler.batch_size
    cores = os.cpu_count() or 1
    counts = [0, 1] if setting.toy else COUNTS[name]
    most = loader_workers(size * image_bytes(recipe), 1, max(counts))
    for workers in counts:
        if workers > most:
            yield row(f"{name}: {workers} loaders", note=f"not run: {cores} cores and /dev/shm allow {most}")
            continue
        reached = loaded(recipe, plan, data, setting, workers)
        yield row(
            f"{name}: {workers} loaders", reached, peer=needed, ratio=reached / needed, target=">= 1 with 8", unit="images/s",
            note=f"batch {size}; peer: images that the deterministic step takes; {cores} cores",
        )  # fmt: skip


def images_per_second(name: str, setting: Setting) -> float:
    """Of the deterministic step: as the part `speed` found it in this folder, else timed here."""
    for found in read_rows(Path(setting.out) / "speed.jsonl"):
        if found["name"] == f"{name}: deterministic":
            return float(found["ours"])
    recipe = get(name)
    determinism.configure(recipe.seed, cudnn=recipe.cudnn)
    images, labels = batch_of(recipe, setting)
    engine = engine_of(recipe, torch.device(setting.device))
    seconds = timed(lambda: engine.step(images, labels), 2, torch.device(setting.device))
    return len(images) / statistics.median(seconds)


def loaded(recipe: Recipe, plan: Any, data: run_data.Data, setting: Setting, workers: int) -> float:
    """Images a second once all that the loaders put ahead at their start is used up."""
    device, size = torch.device(setting.device), plan.sampler.batch_size
    batches = train_batches(
        data.train, make_sampler(plan, data, recipe.seed), make_pipeline(recipe),
        seed=recipe.seed, first=0, last=10_000, device=device, workers=workers,
    )  # fmt: skip
    ahead = 0 if setting.toy else 4 * workers
    for _ in range(1 + ahead):
        next(batches).images.to(device, non_blocking=True)
    started, count = time.perf_counter(), 0
    while count < 2 or (not setting.toy and time.perf_counter() - started < SECONDS):
        next(batches).images.to(device, non_blocking=True)
        count += 1
    seconds = time.perf_counter() - started
    batches.close()  # type: ignore[attr-defined]
    return count * size / seconds
