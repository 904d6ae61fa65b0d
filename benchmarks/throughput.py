"""Training throughput of the RLL SOP step: against the common PyTorch ports, the arithmetic floor, and where time goes.

The peer is what users of PyTorch ports run: a plain BN-Inception (NCHW, nn.BatchNorm2d), one 512-d linear layer,
pytorch-metric-learning's RankedListLoss, torch.optim.SGD, Pillow's uint8 resize. It has one head where the paper's net has
three (L, M, H), so its arithmetic is smaller; both counts are in the notes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._main_job import main_job, wait
from ports import determinism, losses
from ports.backbones.bn_inception import BNInception
from ports.images.rll import CAFFE_MEAN


class Peer:
    """Net, loss and optimiser of the common ports behind the engine's verb `step`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.net = nn.Sequential(BNInception(), nn.Linear(1024, 512)).to(device).train()
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d):  # ours sums accurately; users of the ports run torch's own
                module.forward = partial(nn.BatchNorm2d.forward, module)  # type: ignore[method-assign]
        self.loss, self.described = peer_loss()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.8, weight_decay=2e-5)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        loss = self.loss(self.net(images.to(self.device)), labels.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def peer_loss() -> tuple[nn.Module, str]:
    """The library's loss, or where it is not installed `ports`' port of it; and what to say of it."""
    try:
        from pytorch_metric_learning.losses import RankedListLoss
    except ImportError:
        ported = losses.RankedListLoss(1.4, 0.4, 0.0, 10.0, variant="library", balance=0.5)
        return ported, "loss: ours of variant library (pytorch-metric-learning is not installed)"
    return RankedListLoss(margin=0.4, Tn=10, imbalance=0.5, alpha=1.4, Tp=0), "loss: pytorch-metric-learning's"


def peer_image(path: Path, rng: np.random.Generator) -> torch.Tensor:
    """Long side to 256 with Pillow, white padding, random flip and crop of 227, BGR minus mean."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    scale = 256 / max(picture.size)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (256, 256), (255, 255, 255))
    canvas.paste(small, ((256 - small.width) // 2, (256 - small.height) // 2))
    y, x = rng.integers(30, size=2)
    pixels = np.asarray(canvas)[y : y + 227, x : x + 227, ::-1].astype(np.float32) - np.array(CAFFE_MEAN, np.float32)
    pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def gflop(step: Callable[[], Any]) -> float:
    """Arithmetic of convolutions and matrix products in one step, in 1e9 operations."""
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return counter.get_total_flops() / 1e9


def product_rate(device: torch.device, side: int = 4096) -> float:
    """1e9 operations a second of a large float32 matrix product; best of five."""
    a = torch.rand(side, side, device=device)
    torch.mm(a, a)
    return 2 * side**3 / 1e9 / min(seconds_of(lambda: torch.mm(a, a), device) for _ in range(5))


def profile(step: Callable[[], Any], device: torch.device, count: int = 8) -> list[dict[str, Any]]:
    """The kernels that take most of a step."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiled:
        step()
        wait(device)
    attribute = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = sorted(profiled.key_averages(), key=lambda e: -getattr(e, attribute))
    total = sum(getattr(e, attribute) for e in events)
    return [
        {
            "name": f"profile: {event.key}",
            "ours": getattr(event, attribute) / 1e6,
            "unit": "s",
            "note": f"{getattr(event, attribute) / total:.1%} of a step, {event.count} calls",
        }
        for event in events[:count]
    ]


def run(quick: bool = False) -> list[dict[str, Any]]:
    job = main_job(quick)
    device, data, engine, peer = job.device, job.data, job.engine, Peer(job.device)
    rounds, size = (2 if quick else 8), job.scale.sampler.batch_size
    batches = job.batches(10_000)
    last = next(batches)
    rng = np.random.default_rng(0)

    def peer_batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            files = [data.train.files()[i] for i in last.indices]
            yield torch.stack([peer_image(file, rng) for file in files]), last.labels

    theirs = peer_batches()

    def ours_step() -> Any:
        return engine.step(last.images, last.labels)

    def peer_step() -> Any:
        return peer.step(last.images, last.labels)

    def ours_all() -> Any:
        batch = next(batches)
        return engine.step(batch.images, batch.labels)

    def peer_all() -> Any:
        return peer.step(*next(theirs))

    work = gflop(ours_step), gflop(peer_step)
    timed: dict[str, list[float]] = {"ours": [], "peer": [], "ours all": [], "peer all": []}
    for index in range(rounds + 1):  # in turns, so that a busy machine disturbs all; the first round is a warm-up
        for name, call in zip(timed, (ours_step, peer_step, ours_all, peer_all)):
            elapsed = seconds_of(call, device)
            if index:
                timed[name].append(elapsed)
    median = {name: statistics.median(values) for name, values in timed.items()}
    arithmetic = f"{work[0]:.0f} GFLOP a step, the peer's {work[1]:.0f}"
    note = f"batch {size}, {device}; peer: plain torch BN-Inception, one head, pytorch-metric-learning's RankedListLoss"
    rows = [
        _rate("step alone", size, timed["ours"], timed["peer"], f"{note}; {arithmetic}"),
        _rate("decode to update", size, timed["ours all"], timed["peer all"], f"{note} and Pillow; no loader workers"),
    ]
    floor = work[0] / product_rate(device)
    rows.append(
        {
            "name": "step alone, against a matrix product of the same FLOPs",
            "ours": median["ours"],
            "peer": floor,
            "ratio": median["ours"] / floor,
            "unit": "s",
            "note": f"batch {size}, {device}; the floor is a 4096 x 4096 float32 product's rate",
        }
    )
    if device.type == "cuda":
        rows.append(_determinism(ours_step, size, rounds, device, job.recipe.seed))
    return rows + profile(ours_step, device)


def _rate(name: str, size: int, ours: list[float], peer: list[float], note: str) -> dict[str, Any]:
    """Images a second, and the median of the ratios of paired runs (above 1: ours is faster)."""
    ratio = statistics.median(theirs / own for own, theirs in zip(ours, peer))
    rates = {"ours": size / statistics.median(ours), "peer": size / statistics.median(peer)}
    return {"name": name, **rates, "ratio": ratio, "target": ">= 1.0", "unit": "images/s", "note": note}


def _determinism(step: Callable[[], Any], size: int, rounds: int, device: torch.device, seed: int) -> dict[str, Any]:
    """The same net with nondeterministic kernels allowed, TF32 still off."""
    timed: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for strict in timed:
            torch.use_deterministic_algorithms(strict)
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = strict, not strict
            step()
            timed[strict].append(seconds_of(step, device))
    determinism.configure(seed)
    row = _rate("deterministic against nondeterministic", size, timed[True], timed[False], f"batch {size}, same net")
    return {**row, "target": ">= 0.9"}
