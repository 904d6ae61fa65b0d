"""The main job on this machine: a training step split into its parts, feature extraction, peak memory."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks._main_job import main_job, wait
from paper_recipes.runner.data import run_data
from paper_recipes.runner.data.batches import make_pipeline, test_batches
from paper_recipes.runner.engines.caffe_engine import CaffeEngine


def run(quick: bool = False) -> list[dict[str, Any]]:
    job = main_job(quick)
    engine, device = job.engine, job.device
    steps = 2 if quick else 6
    batches = job.batches(steps + 1)
    parts: dict[str, list[float]] = {name: [] for name in ("loading", "forward", "backward", "update", "step")}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        wait(device)
        start = time.perf_counter()
        result = work()
        wait(device)
        parts[name].append(time.perf_counter() - start)
        return result

    size = job.scale.sampler.batch_size
    for _ in range(steps + 1):
        batch = timed("loading", lambda: next(batches))
        net, solver = engine.solver.net, engine.solver
        inputs = {"data": engine._on_device(batch.images), "label": batch.labels.to(device)}
        solver.optimizer.zero_grad(set_to_none=True)
        timed("forward", lambda: net(**inputs))  # noqa: B023 - called at once
        timed("backward", lambda: net.loss().backward())  # noqa: B023
        for group in solver.optimizer.param_groups:
            group["lr"] = 0.01
        timed("update", solver.optimizer.step)
        parts["step"].append(sum(parts[name][-1] for name in ("loading", "forward", "backward", "update")))
    rows = []
    for name, seconds in parts.items():
        median = statistics.median(seconds[1:])  # the first step pays for kernels' set-up
        share = median / statistics.median(parts["step"][1:])
        rows.append(
            {"name": f"step of {size} images: {name}", "ours": median, "unit": "s", "note": f"{share:.0%} of the step"}
        )
    rows.append(_extraction(engine, job.data, job.recipe, device, 8 if quick else 192))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows.append({"name": "peak resident memory", "ours": peak, "unit": "GiB", "note": "whole process"})
    if device.type == "cuda":
        rows.append({"name": "peak GPU memory", "ours": torch.cuda.max_memory_allocated() / 2**30, "unit": "GiB"})
    return rows


def _extraction(
    engine: CaffeEngine, data: run_data.Data, recipe: Any, device: torch.device, count: int
) -> dict[str, Any]:
    """Images per second of the test path: decode, crop, resize, network."""
    split = data.test.subset(range(min(count, len(data.test))))
    engine.begin_embedding()
    size = recipe.evaluation.batch_size
    for warm in (True, False):
        start = time.perf_counter()
        some = split.subset(range(min(8, len(split)))) if warm else split
        for images in test_batches(some, make_pipeline(recipe), batch_size=size, device=device):
            engine.embed(images)
        wait(device)
        seconds = time.perf_counter() - start
    return {"name": "feature extraction", "ours": len(split) / seconds, "unit": "images/s", "note": f"batch {size}"}
