"""Speed and memory of the released Caffe losses: python -m benchmarks.losses_caffe [--quick].

Everything is timed side by side in one process, forward and backward together, one thread: a step of ours, a step of the peer,
and again. The peer is a loop over pairs in the style of the originals (in NumPy, one pair at a time) or
pytorch-metric-learning's RankedListLoss (which computes another gradient; see docs/differences.md).
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

from benchmarks._paired import paired
from ports.losses import ClassAwareAttention, OnlineSoftMiningLoss, RankedListLoss

Step = Callable[[], object]


def pair_loop(x: np.ndarray, labels: np.ndarray, margin=1.2, pn_margin=0.4, T_n=10.0) -> tuple[float, np.ndarray]:
    """RankedListLoss as the CVPR'19 layer walks through it: one pair after the other, twice."""
    n = len(x)
    pairs, loss = [], 0.0
    sums = np.full((2, n), 1e-8)
    for i in range(n):
        for j in range(i + 1, n):
            difference = x[i] - x[j]
            distance = np.sqrt(difference @ difference)
            positive = int(labels[i] == labels[j])
            hinge = max(0.0, distance - (margin - pn_margin) if positive else margin - distance)
            loss += hinge * hinge
            weight = (1.0 if positive else 2.71828 ** (T_n * hinge)) if hinge > 0 else 0.0
            sums[positive, i] += weight
            sums[positive, j] += weight
            pairs.append((i, j, positive, weight, difference))
    anchors = sums.sum(0)
    total = 1e-8 + anchors.sum()
    gradient = np.zeros_like(x)
    for i, j, positive, weight, difference in pairs:
        if weight:
            force = (0.5 if positive else -0.5) * weight / total * difference
            gradient[i] += force * (anchors[i] / sums[positive, i])
            gradient[j] -= force * (anchors[j] / sums[positive, j])
    return loss / len(pairs), gradient


def osm_loop(x: np.ndarray, labels: np.ndarray, margin=1.2, sigma=0.8) -> np.ndarray:
    """Gradient of OnlineSoftMiningLoss as the V5 layer walks through it, all attentions 1."""
    n = len(x)
    pairs, sums = [], np.full(2, 1e-12)
    for i in range(n):
        for j in range(i + 1, n):
            difference = x[i] - x[j]
            distance = np.sqrt(difference @ difference)
            hinge = max(0.0, margin - distance)
            positive = int(labels[i] == labels[j])
            weight = np.exp(-0.5 * (distance / sigma) ** 2) / np.sqrt(2 * np.pi * sigma**2) if positive else hinge
            sums[positive] += weight
            pairs.append((i, j, positive, weight * (1.0 if positive else -hinge / (distance + 1e-4)), difference))
    gradient = np.zeros_like(x)
    for i, j, positive, weight, difference in pairs:
        force = 0.5 * weight / sums[positive] / len(pairs) * difference
        gradient[i] += force
        gradient[j] -= force
    return gradient


def batch(n: int, dim: int, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, dim, generator=generator) + torch.randn(dim, generator=generator)
    return torch.nn.functional.normalize(x).requires_grad_(), torch.arange(n) // each


def step(loss: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Step:
    def run_once() -> None:
        x.grad = None
        loss(x, labels).backward()

    return run_once


def turns(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of this thread in each turn; the steps take turns, so that a busy machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, run_once in steps.items():
            start = time.thread_time()
            run_once()
            if repeat:
                times[name].append(1e3 * (time.thread_time() - start))
    return times


def peak_bytes(run_once: Step) -> int:
    """Most bytes of tensors held at one moment of a step, beyond what was there before."""
    from torch.profiler import ProfilerActivity, profile

    run_once()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run_once()
    held = most = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            # Not below 0: the last step's gradient, freed first, is reported only if its address was seen before.
            held = max(0, held + event.nbytes())
            most = max(most, held)
    return most


def row(name: str, ours: float, peer: float, unit: str, note: str) -> dict:
    return {"name": name, "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit, "note": note}


def timed_row(name: str, ours: list[float], peer: list[float], note: str) -> dict:
    return {"name": name, **paired(ours, peer), "unit": "ms", "note": note}


def library_loss() -> torch.nn.Module | None:
    try:
        from pytorch_metric_learning.losses import RankedListLoss as Library
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the paper's own T = 10
        return Library(margin=0.4, Tn=10, alpha=1.2)


def run(quick: bool = False) -> list[dict]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run(5 if quick else 20, [180] if quick else [180, 1000])
    finally:
        torch.set_num_threads(threads)


def _run(repeats: int, sizes: list[int]) -> list[dict]:
    rows = []
    x, labels = batch(180, 512, 3)
    ours, as_numpy = step(RankedListLoss(), x, labels), x.detach().double().numpy()
    _, gradient = pair_loop(as_numpy, labels.numpy())
    ours()
    assert np.allclose(x.grad, gradient, atol=1e-5 * np.abs(gradient).max()), "the loop computes something else"
    both = turns({"ours": ours, "peer": lambda: pair_loop(as_numpy, labels.numpy())}, 3)
    rows.append(timed_row("RankedListLoss 180x512, pair loop", both["ours"], both["peer"], "target ratio <= 0.05"))
    library = library_loss()
    for n in sizes if library is not None else []:
        x, labels = batch(n, 512, 3)
        steps = {"peer": step(library, x, labels)} | {
            release: step(RankedListLoss(release=release), x, labels) for release in ("cvpr19", "tpami")
        }
        times = turns(steps, repeats if n < 500 else max(3, repeats // 3))
        for release in ("cvpr19", "tpami"):
            name = f"RankedListLoss {release} {n}x512, pytorch-metric-learning"
            rows.append(timed_row(name, times[release], times["peer"], "target ratio <= 1.0"))
        memory = {name: peak_bytes(steps[name]) / 1e6 for name in ("cvpr19", "peer")}
        budget = 4e-6 * (2 * n * n + n * 512)
        note = f"{memory['cvpr19'] / budget:.2f} times 2 N*N + N*D in float32 ({budget:.2f} MB)"
        rows.append(row(f"RankedListLoss memory {n}x512", memory["cvpr19"], memory["peer"], "MB", note))
    rows += _osm_rows(repeats)
    return rows


def _osm_rows(repeats: int) -> list[dict]:
    """No library has OSM + CAA: beside a pair loop, and beside a cross entropy with an unweighted contrastive loss."""
    x, labels = batch(56, 1024, 7)
    logits = torch.randn(56, 100, generator=torch.Generator().manual_seed(1)).requires_grad_()
    attention, pair_loss = ClassAwareAttention(), OnlineSoftMiningLoss()
    pairs, as_numpy = step(pair_loss, x, labels), x.detach().double().numpy()
    pairs()
    gradient = osm_loop(as_numpy, labels.numpy())
    assert np.allclose(x.grad, gradient, atol=1e-5 * np.abs(gradient).max()), "the loop computes something else"

    def chain() -> None:
        x.grad = logits.grad = None
        result = attention(logits, labels)
        (result.loss + pair_loss(x, labels, attention=result.attention)).backward()

    def plain() -> None:
        x.grad = logits.grad = None
        contrastive = (1.2 - torch.pdist(x)).clamp(min=0).square().mean()
        (torch.nn.functional.cross_entropy(logits, labels) + contrastive).backward()

    loop = turns({"ours": pairs, "peer": lambda: osm_loop(as_numpy, labels.numpy())}, 3)
    times = turns({"ours": chain, "peer": plain}, repeats)
    note = "peer: cross entropy + unweighted contrastive of torch.pdist, for scale only"
    return [
        timed_row("OnlineSoftMiningLoss 56x1024, pair loop", loop["ours"], loop["peer"], "1,540 pairs only"),
        timed_row("OSM + CAA 56x1024, 100 classes", times["ours"], times["peer"], note),
    ]


if __name__ == "__main__":
    for entry in run("--quick" in sys.argv[1:]):
        print("{name}: {ours:.2f} against {peer:.2f} {unit}, ratio {ratio:.3f} ({note})".format(**entry))
