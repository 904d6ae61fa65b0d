"""Step time and images/s at the recipes' own batches: deterministic, with the faster kernels allowed, beside a plain port;
and the most memory that a step held, beside what `python -m paper_recipes show` counts.

The images lie on the card already: this is the step alone. The plain port is what users of PyTorch write: `benchmarks.throughput`
describes it; where pytorch-metric-learning is not installed its loss is `ports`' own port of that library's.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.gpu.jobs import RECIPES, random_batch
from benchmarks.gpu.setting import Setting, attempts, row
from benchmarks.throughput import Peer, product_rate, profile, seconds_of
from paper_recipes import gpu_memory
from paper_recipes.recipe import Recipe
from paper_recipes.registry import get
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.torch_engine import TorchEngine
from ports import determinism

ROUNDS = 6
LONG = 2.0  # seconds


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    yield from attempts(["rll-sop"] if setting.toy else list(RECIPES), lambda name: speeds(name, setting))
    device = torch.device(setting.device)
    yield row("a 4096 x 4096 float32 product", product_rate(device, 256 if setting.toy else 4096) / 1e3, unit="TFLOP/s")


def batch_of(recipe: Recipe, setting: Setting) -> tuple[torch.Tensor, torch.Tensor]:
    sampler = recipe.sampler
    classes, each = (3, 2) if setting.toy else (sampler.classes_per_batch, sampler.images_per_class)
    images, labels = random_batch(recipe, classes, each, seed=1, dtype=torch.float32)
    return images.to(setting.device), labels.to(setting.device)


def engine_of(recipe: Recipe, device: torch.device, *, fast: bool = False) -> Any:
    """In the recipe's last phase, which trains everything."""
    if recipe.torch is None:
        return CaffeEngine(recipe.the_caffe(), device=device, seed=recipe.seed, fast=fast)
    made = TorchEngine(recipe.torch, classes=100, device=device, seed=recipe.seed, fast=fast)
    made.updates = sum(phase.iterations for phase in recipe.torch.phases[:-1])
    return made


def speeds(name: str, setting: Setting) -> Iterator[dict[str, Any]]:
    recipe, device = get(name), torch.device(setting.device)
    determinism.configure(recipe.seed, cudnn=recipe.cudnn)
    gc.collect()  # the recipe before this one
    images, labels = batch_of(recipe, setting)
    engine = engine_of(recipe, device)
    before = held(device, reset=True)
    rounds = 2 if setting.toy else ROUNDS

    def step() -> Any:
        return engine.step(images, labels)

    step()
    step()
    if device.type == "cuda":
        yield memory_row(recipe, len(images), held(device) / 1e9, before / 1e9)
    deterministic = timed(step, rounds, device)
    yield rate(f"{name}: deterministic", len(images), deterministic, None)
    free(recipe.seed, tf32=False)
    yield rate(f"{name}: any kernels, no TF32", len(images), timed(step, rounds, device), deterministic)
    free(recipe.seed, tf32=True)
    yield rate(f"{name}: any kernels, TF32", len(images), timed(step, rounds, device), deterministic)
    if name != "rll-sop":
        return
    for what, strict in (("deterministic", True), ("any kernels, no TF32", False)):
        determinism.configure(recipe.seed) if strict else free(recipe.seed, tf32=False)
        peer = Peer(device)
        peer_step = timed(lambda: peer.step(images, labels), rounds, device)  # noqa: B023 - called at once
        yield rate(f"{name}: plain port, {what}", len(images), peer_step, deterministic, note=peer.described)
    determinism.configure(recipe.seed, cudnn=recipe.cudnn)
    for found in profile(step, device):
        yield row(f"{name}: {found['name']}", found["ours"], unit="s", note=found["note"])


def memory_row(recipe: Recipe, batch: int, peak: float, before: float) -> dict[str, Any]:
    """Both in 1e9 bytes. The figure on paper leaves out cuDNN's and cuBLAS's workspaces and what lies between tensors."""
    paper = gpu_memory.of(recipe.name)
    return row(
        f"{recipe.name}: most memory held in a step of {batch}",
        peak,
        peer=None if paper is None else paper.step / 1e9,
        ratio=None if paper is None else peak / (paper.step / 1e9),
        unit="GB",
        note=f"peer: on paper; {before:.2f} GB before the first step, the images included",
    )


def held(device: torch.device, *, reset: bool = False) -> int:
    """Bytes of tensors: the most since the last reset."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated()


def free(seed: int, *, tf32: bool) -> None:
    """What `--fast` lets in besides compiled code, with or without TF32."""
    determinism.configure(seed, strict=False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def timed(step: Callable[[], Any], rounds: int, device: torch.device) -> list[float]:
    """Seconds of each round, two steps for warming up apart; three rounds are enough where they take long."""
    step()
    step()
    found: list[float] = []
    while len(found) < rounds and (len(found) < 3 or sum(found) < LONG):
        found.append(seconds_of(step, device))
    return found


def rate(
    name: str, batch: int, seconds: list[float], deterministic: list[float] | None, note: str = ""
) -> dict[str, Any]:
    """Images a second; ratio: of this rate to that of the deterministic step."""
    median = statistics.median(seconds)
    peer = None if deterministic is None else statistics.median(deterministic)
    said = f"batch {batch}, {median * 1e3:.1f} ms a step, {min(seconds) * 1e3:.1f} to {max(seconds) * 1e3:.1f}"
    return row(
        name,
        batch / median,
        peer=None if peer is None else batch / peer,
        ratio=None if peer is None else peer / median,
        unit="images/s",
        note=f"{said}{'; peer: ours, deterministic' if peer else ''}{'; ' + note if note else ''}",
    )
