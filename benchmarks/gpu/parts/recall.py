"""recall@K against the bare blocked matrix product: SOP's test set, and a million items.

The million is searched by a part of its items first, which bounds the time; all of them follow if they fit into what is left.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.gpu.setting import Setting, row
from benchmarks.recall import KS, bare_product, timed
from ports.metrics.retrieval import recall_at_k

DIM = 512
BLOCK = {"cuda": (4096, 8192), "cpu": (512, 1024)}


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    small, large, part = (2_000, 8_000, 1_000) if setting.toy else (60_502, 1_000_000, 100_000)
    device = setting.device
    x, labels = features(small, small // 5, device)
    recall_at_k(x[:2000], labels[:2000], KS)  # kernels and workspaces are set up
    ours, bare = [], []
    for _ in range(1 if setting.toy else 5):
        bare.append(timed(lambda: bare_product(x, *BLOCK[device]), device))
        ours.append(timed(lambda: recall_at_k(x, labels, KS), device))
    yield said(
        f"{small:,} x {DIM}", statistics.median(ours), statistics.median(bare), small * small, f"median of {len(ours)}"
    )
    del x
    x, labels = features(large, large // 10, device)
    queries = torch.arange(part)
    bare_part = timed(lambda: bare_product(x, *BLOCK[device], queries=part), device)
    some = timed(lambda: recall_at_k(x, labels, KS, query_rows=queries), device)
    yield said(f"{part:,} queries in {large:,} x {DIM}", some, bare_part, part * large, "one run")
    if some * large / part * 2.2 < setting.left - 10:
        bare_all = timed(lambda: bare_product(x, *BLOCK[device]), device)
        yield said(
            f"{large:,} x {DIM}", timed(lambda: recall_at_k(x, labels, KS), device), bare_all, large * large, "one run"
        )
    else:
        yield row(f"{large:,} x {DIM}", note=f"not run: about {some * large / part:.0f} s, {setting.left:.0f} s left")


def features(n: int, classes: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Class centres with noise, as `benchmarks.recall` has them, drawn where they are used."""
    generator = torch.Generator(device).manual_seed(0)
    labels = torch.randint(classes, (n,), generator=generator, device=device)
    x = torch.randn(classes, DIM, generator=generator, device=device)[labels]
    for first in range(0, n, 100_000):
        block = x[first : first + 100_000]
        block.add_(torch.randn(block.shape, generator=generator, device=device), alpha=1.6)
    return x, labels.cpu()


def said(what: str, ours: float, bare: float, pairs: float, note: str) -> dict[str, Any]:
    speed = f"bare product {2 * pairs * DIM / bare / 1e12:.1f} TFLOP/s"
    return row(
        f"recall@K {what}", ours, peer=bare, ratio=ours / bare, target="<= 1.35", unit="s",
        note=f"peer: blocked matrix product alone; {speed}; {note}",
    )  # fmt: skip
