"""Recall@K: time against the bare blocked matrix product and a library, peak memory, galleries larger than memory.

`python benchmarks/recall.py [--quick]` prints the rows; `run()` returns them for a collected report.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ports.metrics.retrieval import recall_at_k

KS = (1, 10, 100, 1000)
SOP = (60_502, 11_316)  # test images and classes of Stanford Online Products


def features(n: int, classes: int, dim: int = 512, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random class centres with noise: recall@1 near 0.98, so that neighbours are neither trivial nor random."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=rng)
    x = torch.randn(classes, dim, generator=rng)[labels]
    return x.add_(torch.randn(n, dim, generator=rng), alpha=1.6), labels


def bare_product(x: torch.Tensor, rows: int, columns: int, *, queries: int | None = None) -> None:
    """Normalise and multiply every block, look at nothing: the least that any exact search costs. queries: only the first."""
    z = x / x.square().sum(1, keepdim=True).sqrt()
    out = torch.empty(rows, columns, device=x.device)
    asking = z[:queries]
    for a in range(0, len(asking), rows):
        for b in range(0, len(z), columns):
            q, g = asking[a : a + rows], z[b : b + columns]
            torch.mm(q, g.t(), out=out[: len(q), : len(g)])


def timed(call: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def against_product(n: int, classes: int, device: str, repeats: int) -> dict:
    x, labels = features(n, classes)
    x = x.to(device)
    block = (4096, 8192) if device == "cuda" else (512, 1024)
    bare_product(x[: 2 * block[1]], *block)
    recall_at_k(x[: 2 * block[1]], labels[: 2 * block[1]], KS)
    peers, ours = [], []
    for _ in range(repeats):  # side by side, so that a busy machine disturbs both
        peers.append(timed(lambda: bare_product(x, *block), device))
        ours.append(timed(lambda: recall_at_k(x, labels, KS), device))
    ratio = statistics.median(o / p for o, p in zip(ours, peers))
    return row(
        f"recall@K {n} x 512, {device}", statistics.median(ours), statistics.median(peers), ratio,
        f"peer: blocked matrix product alone; median of {repeats}, {torch.get_num_threads()} threads",
        target="<= 1.35",
    )  # fmt: skip


def against_libraries(n: int, classes: int) -> list[dict]:
    """faiss' exact index, and pytorch-metric-learning on top of it; both need the 1,001 nearest of each query."""
    names = [f"recall@K {n} x 512, faiss IndexFlatIP", f"precision@1 {n} x 512, pytorch-metric-learning"]
    try:
        import faiss
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    except ImportError as error:
        return [row(name, None, None, None, f"not measured: {error.name} is not installed") for name in names]
    x, labels = features(n, classes)
    x = torch.nn.functional.normalize(x)
    calculator = AccuracyCalculator(include=("precision_at_1",), k=1001, device=torch.device("cpu"))

    def search() -> None:
        index = faiss.IndexFlatIP(x.shape[1])
        index.add(x.numpy())
        index.search(x.numpy(), 1001)

    faiss.omp_set_num_threads(torch.get_num_threads())
    ours = timed(lambda: recall_at_k(x, labels, KS), "cpu")
    peers = [timed(search, "cpu"), timed(lambda: calculator.get_accuracy(x, labels), "cpu")]
    return [
        row(name, ours, peer, ours / peer, "1,001 nearest; one run each", target="< 1")
        for name, peer in zip(names, peers)
    ]


def peak(mode: str, n: int, classes: int, target: str) -> dict:
    """Peak memory of a process of its own, the interpreter and torch included."""
    result = subprocess.run(
        [sys.executable, __file__, "--child", mode, str(n), str(classes)], check=True, capture_output=True, text=True
    )
    got = json.loads(result.stdout.splitlines()[-1])
    what = f"{n} x 512" if mode == "memory" else f"10000 queries, memory-mapped gallery of {n} x 512"
    note = f"whole process; {got['before']:.2f} GiB before the call; {got['seconds']:.1f} s; recall {got['recall']}"
    return row(f"peak memory, {what}", got["gib"], None, None, note, unit="GiB", target=target)


def child(mode: str, first: str, classes: int) -> None:
    if mode == "memory":
        x, labels = features(int(first), classes)
        report(lambda: recall_at_k(x, labels, KS))
    elif mode == "search":
        z = np.load(Path(first) / "rest.npz")
        gallery = np.load(Path(first) / "gallery.npy", mmap_mode="r")
        labels, queries, own = z["labels"], z["queries"], z["labels"][z["chosen"]]
        report(lambda: recall_at_k(queries, own, KS, gallery=gallery, gallery_labels=labels))
    else:  # the data are made here, the search runs in a process that starts anew
        with tempfile.TemporaryDirectory() as folder:
            make_gallery(Path(folder), int(first), classes)
            command = [sys.executable, __file__, "--child", "search", folder, "0"]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def make_gallery(folder: Path, n: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    labels, seeds = rng.integers(0, classes, n), rng.integers(0, 2**31, classes)
    gallery = np.lib.format.open_memmap(folder / "gallery.npy", mode="w+", dtype=np.float32, shape=(n, 512))
    for a in range(0, n, 20_000):
        part = labels[a : a + 20_000]
        centres = np.stack([np.random.default_rng(seeds[c]).standard_normal(512, np.float32) for c in part])
        gallery[a : a + 20_000] = centres + 1.6 * rng.standard_normal(centres.shape, np.float32)
    chosen = rng.choice(n, min(10_000, n), replace=False)
    queries = gallery[chosen] + 1.6 * rng.standard_normal((len(chosen), 512), np.float32)
    gallery.flush()
    np.savez(folder / "rest.npz", labels=labels, queries=queries, chosen=chosen)


def peak_gib() -> float:
    """High-water mark of this program. ru_maxrss also knows the parent's, from before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(search: Callable[[], dict[int, float]]) -> None:
    before, start = peak_gib(), time.perf_counter()
    result = search()
    seconds = time.perf_counter() - start
    recall = {k: round(v, 4) for k, v in result.items()}
    print(json.dumps({"gib": peak_gib(), "before": before, "seconds": seconds, "recall": recall}))


def row(
    name: str,
    ours: float | None,
    peer: float | None,
    ratio: float | None,
    note: str,
    unit: str = "s",
    target: str | None = None,
) -> dict:
    return {"name": name, "ours": ours, "peer": peer, "ratio": ratio, "unit": unit, "note": note, "target": target}


def run(quick: bool = False) -> list[dict]:
    """Rows {"name", "ours", "peer", "ratio", "unit", "note", "target"}; ratio: ours / peer."""
    n, classes = (8192, 1500) if quick else SOP
    rows = [against_product(n, classes, "cpu", 1 if quick else 3)]
    rows += against_libraries(4096 if quick else 20_000, 1000)
    rows.append(peak("memory", n, classes, "< 1.5 GiB"))
    rows.append(peak("stream", *((20_000, 2000) if quick else (1_000_000, 100_000)), "< 3 GiB"))
    if torch.cuda.is_available():
        rows.append(against_product(n, classes, "cuda", 5))
        if not quick:
            rows.append(against_product(1_000_000, 100_000, "cuda", 1))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        mode, first, classes = arguments.child
        child(mode, first, int(classes))
        return
    for line in run(arguments.quick):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
