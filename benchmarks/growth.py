"""How time and memory grow: a training step over the batch, a loss over the batch, recall@K over the items, an evaluation over
the test images. Exponents are fitted; writes benchmarks/growth.png.

    python -m benchmarks growth
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._main_job import MainJob, main_job
from benchmarks._paired import now
from benchmarks.losses import batch as loss_batch
from benchmarks.losses_caffe import peak_bytes
from benchmarks.losses_caffe import step as loss_step
from benchmarks.recall import KS, features
from paper_recipes.runner.data.batches import make_pipeline, test_batches
from ports.losses import RankedListLoss
from ports.metrics.retrieval import recall_at_k

MANY = 10_000_000
HOUR = 3600


@dataclass
class Curve:
    """name: what; over: what n counts; points: (n, seconds, MB beyond what was held before)."""

    name: str
    over: str
    points: list[tuple[int, float, float]] = field(default_factory=list)

    def exponents(self) -> tuple[float, float]:
        n, seconds, memory = zip(*self.points)
        return exponent(n, seconds), exponent(n, memory)


def exponent(n: Sequence[float], values: Sequence[float]) -> float:
    """Of the power law through the larger half of the points, at least two: there constant parts hide it least."""
    upper = max(2, (len(n) + 1) // 2)
    return round(float(np.polyfit(np.log(n[-upper:]), np.log(values[-upper:]), 1)[0]), 2) + 0.0  # no -0.00


def _status(name: str) -> float:
    """MB of this process by the kernel's word for it (VmRSS: held now; VmHWM: the most since `_forget_peak`)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _measured(work: Callable[[], object], repeats: int, held: float) -> tuple[float, float]:
    """Median seconds of `work` and the most MB held in it beyond `held`."""
    _forget_peak()
    times = []
    for _ in range(repeats):
        start = now()
        work()
        times.append(now() - start)
    return statistics.median(times), max(_status("VmHWM") - held, 0.1)


def run(quick: bool = False) -> list[dict[str, Any]]:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return [{"name": "growth", "note": "not measured: needs Linux, whose /proc says how much memory was held"}]
    job = main_job(quick)
    curves = [
        _loss((60, 125) if quick else (60, 125, 250, 500, 1000, 2000)),
        _recall((1000, 2000) if quick else (1000, 2000, 4000, 8000, 16_000)),
        _step(job, (1, 2) if quick else (1, 2, 4, 7, 10)),
        _evaluation(job, (8, 16) if quick else (32, 64, 128, 256)),
    ]
    rows = [_row(curve, *point) for curve in curves for point in curve.points]
    for curve in curves:
        time_power, memory_power = curve.exponents()
        note = f"over {curve.over}; the larger half of the points; memory: {memory_power:.2f}"
        rows.append({"name": f"{curve.name}: exponent", "ours": time_power, "unit": "", "note": note})
    rows += _many(*curves)
    if not quick:
        plot(curves, Path(__file__).with_suffix(".png"))
    return rows


def _row(curve: Curve, n: int, seconds: float, memory: float) -> dict[str, Any]:
    return {"name": f"{curve.name} {n}", "ours": seconds, "unit": "s", "note": f"{curve.over}; {memory:,.1f} MB"}


def _loss(sizes: Sequence[int]) -> Curve:
    curve = Curve("RankedListLoss", "embeddings, D = 512, forward and backward")
    for n in sizes:
        x, labels = loss_batch(n // 5, 5)
        work = loss_step(RankedListLoss(), x.requires_grad_(), labels)
        memory = peak_bytes(work) / 1e6  # torch's own account: a process's is too coarse here
        curve.points.append((n, _measured(work, 7 if n < 1000 else 3, 0)[0], memory))
    return curve


def _recall(sizes: Sequence[int]) -> Curve:
    curve = Curve("recall@K", "items, each searched for among the others, D = 512")
    for n in sizes:
        x, labels = features(n, n // 5)
        work = lambda: recall_at_k(x, labels, KS)  # noqa: E731, B023 - called at once
        memory = peak_bytes(work) / 1e6
        curve.points.append((n, _measured(work, 3 if n < 8000 else 1, 0)[0], memory))
    return curve


def _step(job: MainJob, batches: Sequence[int]) -> Curve:
    """A step of rll-sop at 227 pixels on so many of the letters form's batches at once."""
    loaded = list(job.batches(max(batches)))
    curve = Curve("training step", "images of 227 pixels, rll-sop")
    engine, solver = job.engine, job.engine.solver
    for group in solver.optimizer.param_groups:
        group["lr"] = 0.0  # the same weights at all sizes
    held = _status("VmRSS")
    for count in batches:
        images = engine._on_device(torch.cat([part.images for part in loaded[:count]]))
        labels = torch.cat([part.labels for part in loaded[:count]]).to(job.device)

        def step() -> None:
            solver.optimizer.zero_grad(set_to_none=True)
            solver.net(data=images, label=labels)  # noqa: B023 - called at once
            solver.net.loss().backward()
            solver.optimizer.step()

        if not curve.points:
            step()  # the first one pays for kernels' set-up
        curve.points.append((len(images), *_measured(step, 2 if count < 5 else 1, held)))
    solver.optimizer.zero_grad(set_to_none=True)
    return curve


def _evaluation(job: MainJob, counts: Sequence[int]) -> Curve:
    """Decoding, network and recall@K of so many test images."""
    curve = Curve("evaluation", "test images of 227 pixels, rll-sop, with recall@K")
    job.engine.begin_embedding()
    pipeline, size = make_pipeline(job.recipe), job.recipe.evaluation.batch_size

    def evaluate(count: int) -> None:
        split = job.data.test.subset(range(count))
        parts = test_batches(split, pipeline, batch_size=size, device=job.device)
        blobs = [job.engine.embed(images) for images in parts]
        for name in blobs[0]:
            recall_at_k(torch.cat([blob[name] for blob in blobs]), torch.as_tensor(split.labels), [1])

    evaluate(min(counts))
    held = _status("VmRSS")
    for count in counts:
        curve.points.append((count, *_measured(lambda: evaluate(count), 1, held)))  # noqa: B023 - called at once
    return curve


def _many(loss: Curve, recall: Curve, step: Curve, evaluation: Curve) -> list[dict[str, Any]]:
    """What the largest measured points say of ten million images, by the powers that the work has: 1, 1 and 2."""
    rows = []
    for curve, what, power in (
        (step, "one epoch of training steps", 1),
        (evaluation, "embedding", 1),
        (recall, "recall@K", 2),
    ):
        n, seconds, _ = curve.points[-1]
        hours = seconds * (MANY / n) ** power / HOUR
        note = (
            f"extrapolated from {n:,}, not measured: this processor, {torch.get_num_threads()} thread(s), power {power}"
        )
        rows.append({"name": f"{MANY:.0e} images: {what}", "ours": hours, "unit": "hours", "note": note})
    return rows


def plot(curves: Sequence[Curve], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, panels = plt.subplots(2, len(curves), figsize=(13, 5.6), layout="constrained", squeeze=False)
    for column, curve in enumerate(curves):
        n = np.array([point[0] for point in curve.points], float)
        for row, (values, power, label, colour) in enumerate(
            zip(
                zip(*[point[1:] for point in curve.points]),
                curve.exponents(),
                ("seconds", "MB"),
                ("#1b6ca8", "#b5541c"),
            )
        ):
            axes = panels[row][column]
            axes.plot(n, values, "o-", color=colour)
            axes.plot(n, values[-1] * (n / n[-1]) ** power, "--", color="#777777", label=f"power {power:.2f}")
            axes.set(xscale="log", yscale="log", ylabel=label if column == 0 else None)
            axes.set_xticks(n, [f"{v:,.0f}" for v in n], fontsize=8)
            axes.set_yticks(
                [values[0], values[-1]], [f"{v:.2g}" if v < 100 else f"{v:,.0f}" for v in (values[0], values[-1])]
            )
            axes.minorticks_off()
            axes.legend(frameon=False)
            if row == 0:
                axes.set_title(curve.name, fontsize=11)
            else:
                axes.set_xlabel(curve.over.split(",")[0])
    fig.savefig(path, dpi=80)
    plt.close(fig)
