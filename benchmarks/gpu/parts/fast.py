"""`--fast`: TF32, channels-last memory and a compiled network, beside the deterministic step; and what compiling costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.gpu.parts.speed import batch_of, engine_of, rate, timed
from benchmarks.gpu.setting import Setting, attempts, row
from paper_recipes.registry import get
from ports import determinism


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    yield from attempts(["ms-cub"] if setting.toy else ["rll-sop", "ms-cub"], lambda name: compiled(name, setting))


def stepping(engine: Any, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], Any]:
    return lambda: engine.step(images, labels)


def compiled(name: str, setting: Setting) -> Iterator[dict[str, Any]]:
    recipe, device = get(name), torch.device(setting.device)
    rounds = 2 if setting.toy else 8
    images, labels = batch_of(recipe, setting)
    determinism.configure(recipe.seed, cudnn=recipe.cudnn)
    deterministic = timed(stepping(engine_of(recipe, device), images, labels), rounds, device)
    determinism.configure(recipe.seed, strict=False)
    torch._dynamo.config.disable = setting.toy  # a CPU compiles for a quarter of an hour
    step = stepping(engine_of(recipe, device, fast=True), images, labels)
    started = time.perf_counter()
    step()
    yield row(f"{name}: first step with --fast", time.perf_counter() - started, unit="s", note="compiling, mostly")
    seconds = timed(step, rounds, device)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
    note = f"{graphs} compiled graphs, {breaks} breaks" if graphs else "nothing was compiled"
    yield rate(f"{name}: --fast", len(images), seconds, deterministic, note=note)
