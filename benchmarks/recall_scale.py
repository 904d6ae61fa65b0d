"""Recall@K over the size of the gallery: measured, the cost model of docs/speed.md, and what it says about millions.

Every item is a query against all others. The model has two terms: 2 N N D operations at the rate of a bare blocked product
measured here, and 2 N D numbers read per group of 2^28 / (4 D) queries. Writes benchmarks/recall_scale.png.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.recall import KS, bare_product, features, row, timed
from ports.metrics.retrieval import recall_at_k

DIM = 512
SIZES = (2_000, 4_000, 8_000, 16_000, 32_000, 60_502)
# Not measured: a data-centre GPU's usual share of its 67e12 float32 operations a second (TF32 off), and one fast disk.
ASSUMED_GPU, ASSUMED_DISK = 45e12, 5e9
HOUR = 3600


def operations(n: float) -> float:
    return 2 * n * n * DIM


def bytes_read(n: float) -> float:
    """Of the gallery, where it is larger than the cache: twice for each group of queries."""
    groups = -(-n // (2**28 // (4 * DIM)))
    return 2 * groups * n * DIM * 4


def run(quick: bool = False) -> list[dict[str, Any]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    block = (4096, 8192) if device == "cuda" else (512, 1024)
    sizes = SIZES[:2] if quick else SIZES
    x, _ = features(sizes[-1], sizes[-1] // 5)
    x = x.to(device)
    probe = x[: min(len(x), 16_384)]
    bare_product(probe, *block)
    rate = operations(len(probe)) / min(timed(lambda: bare_product(probe, *block), device) for _ in range(3))
    rows, points = [], []
    for n in sizes:
        z, labels = features(n, n // 5)
        z = z.to(device)
        seconds = min(timed(lambda: recall_at_k(z, labels, KS), device) for _ in range(3 if n < 20_000 else 1))  # noqa: B023
        model = operations(n) / rate
        points.append((n, seconds, model))
        rows.append(row(f"{n} x {DIM}, {device}", seconds, model, seconds / model, "peer: the cost model"))
    constant = points[-1][1] / points[-1][2]  # what the search costs beside the bare product
    rate_note = f"bare product here: {rate / 1e9:.0f} GFLOP/s; search / product at {sizes[-1]}: {constant:.2f}"
    for n in (10_000_000, 1_000_000_000):
        for gpus in (1, 64):
            compute = constant * operations(n) / ASSUMED_GPU / gpus
            disk = bytes_read(n) / ASSUMED_DISK / gpus
            note = f"extrapolated, not measured: {operations(n):.1e} operations, {bytes_read(n):.1e} bytes read; {rate_note}"
            rows.append(
                row(f"{n:.0e} x {DIM} on {gpus} GPU", max(compute, disk) / HOUR, None, None, note, unit="hours")
            )
    if not quick:
        plot(points, Path(__file__).with_suffix(".png"))
    return rows


def plot(points: list[tuple[int, float, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    n, measured, model = zip(*points)
    axes.plot(n, model, "--", color="#777777", label="2 N² D at the rate of the bare blocked product")
    axes.plot(n, measured, "o-", color="#1b6ca8", label="recall_at_k, measured")
    axes.set(xscale="log", yscale="log", xlabel="N (every item against all others, D = 512)", ylabel="seconds")
    axes.set_xticks(n, [f"{v:,}" for v in n])
    axes.minorticks_off()
    axes.set_title("Recall@K: time over the size of the test set")
    axes.legend(frameon=False)
    fig.savefig(path, dpi=110)
    plt.close(fig)
