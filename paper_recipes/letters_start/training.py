"""Trains the start: a classifier of symbols, by plain SGD in bfloat16, from small pictures to those of 227 pixels.

It is resumed from its last checkpoint, and what it did is written beside the weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from paper_recipes.letters_start import pictures, symbols
from paper_recipes.letters_start.network import StartNet, with_torch_batch_norm
from ports.files import atomic_path
from ports.images.rll import CAFFE_MEAN


@dataclass(frozen=True)
class Settings:
    """What the shipped start was trained with."""

    steps: int = 2000
    batch: int = 64
    # (share of the steps, side of the pictures): most of what there is to learn about shapes can be learnt on small ones, at a
    # quarter of the cost; the last steps are at the size that the recipes have. (The net's stride-2 blocks do not fit every size.)
    sizes: tuple[tuple[float, int], ...] = ((0.40, 96), (0.35, 128), (0.15, 160), (0.10, 227))
    rate: float = 0.1  # the highest, after a twentieth of the steps; a cosine takes it to 0
    momentum: float = 0.9
    decay: float = 1e-4
    auxiliary: float = 0.3  # weight of each of the two auxiliary losses, GoogLeNet's own
    seed: int = 20261126

    def size_at(self, step: int) -> int:
        done = 0.0
        for share, size in self.sizes:
            done += share
            if step < done * self.steps:
                return size
        return self.sizes[-1][1]

    def rate_at(self, step: int) -> float:
        warm = max(1, self.steps // 20)
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm)))


class _Batches(IterableDataset[Any]):
    """Batches `first`, `first` + 1, ...: an epoch is every picture once, in a seeded order."""

    def __init__(self, settings: Settings, first: int) -> None:
        self.settings, self.first = settings, first
        self.known = symbols.pictures(held_out=False)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        torch.set_num_threads(1)
        fonts: dict[Any, Any] = {}
        each = len(self.known) // self.settings.batch
        for step in range(self.first, self.settings.steps):
            epoch, place = divmod(step, each)
            order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.known))
            chosen = [self.known[i] for i in order[place * self.settings.batch : (place + 1) * self.settings.batch]]
            images, labels = pictures.batch([self.settings.seed, 1, step], chosen, self.settings.size_at(step), fonts)
            yield torch.from_numpy(images), torch.from_numpy(labels)


def inputs(images: Tensor) -> Tensor:
    """(N, H, W) grey levels as the recipes' images: three channels minus Caffe's means, float32."""
    return (images[:, None].float() - torch.tensor(CAFFE_MEAN)[:, None, None]).to(memory_format=torch.channels_last)


def train(
    settings: Settings, out: Path, *, say: Callable[[str], None] = print, every: int = 50
) -> tuple[StartNet, float]:
    """Train, or go on from the checkpoint in `out`, which is written every `every` steps; the net, and how many seconds it took."""
    torch.manual_seed(settings.seed)
    net = with_torch_batch_norm(StartNet(len(symbols.load_symbols()))).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        _groups(net, settings.decay), lr=settings.rate, momentum=settings.momentum, nesterov=True
    )
    checkpoint = out / "checkpoint.safetensors"
    step, seconds = _resume(checkpoint, net, optimizer)
    begun = time.monotonic() - seconds
    if step:
        say(f"goes on after step {step}")
    loader = DataLoader(_Batches(settings, step), batch_size=None, num_workers=1, prefetch_factor=4)
    running: dict[str, float] = {}
    for images, labels in loader:
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        net.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = net(inputs(images))
        losses = {level: F.cross_entropy(score.float(), labels) for level, score in scores.items()}
        optimizer.zero_grad(set_to_none=True)
        (losses["H"] + settings.auxiliary * (losses["L"] + losses["M"])).backward()
        optimizer.step()
        step += 1
        found = {level: float(loss.detach()) for level, loss in losses.items()}
        found["right"] = float((scores["H"].argmax(1) == labels).float().mean())
        running = {name: 0.95 * running.get(name, value) + 0.05 * value for name, value in found.items()}
        if step % every == 0 or step == settings.steps:
            seconds = time.monotonic() - begun
            _save(checkpoint, net, optimizer, step, seconds)
            words = ", ".join(f"{name} {value:.3f}" for name, value in running.items())
            say(f"step {step} of {settings.steps}, {settings.size_at(step - 1)} px, {seconds:.0f} s: {words}")
    return net, seconds


def _groups(net: StartNet, decay: float) -> list[dict[str, Any]]:
    """Weights decay, BatchNorm's and the biases do not."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _save(path: Path, net: StartNet, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    tensors = {f"net/{name}": value.contiguous() for name, value in net.state_dict().items()}
    for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        tensors[f"momentum/{index}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    with atomic_path(path, parents=True) as temporary:
        save_file(tensors, temporary, {"step": str(step), "seconds": str(seconds)})


def _resume(path: Path, net: StartNet, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.is_file():
        return 0, 0.0
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    net.load_state_dict({k.removeprefix("net/"): v for k, v in tensors.items() if k.startswith("net/")})
    for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum/{index}"].clone()
    return int(about["step"]), float(about["seconds"])
