"""Bytes of Cross-Batch Memory at the recipes' settings: python -m benchmarks.xbm_memory [--quick].

`ours` is what a full memory and a step against it hold beyond the batch, in MB; `peer` is the paper's bound: below 1 GB (README of
research-xbm, "less than 1GB for large-scale datasets"; 0.2 GB in the abstract). Tensors that torch's CPU allocator reports.
"""

from __future__ import annotations

import sys

import torch

from benchmarks.losses_caffe import batch, peak_bytes, row, step
from paper_recipes import registry
from ports import losses
from ports.memory import CrossBatchMemory

PAPER = 1000.0  # MB
NAMES = ("xbm-sop", "xbm-inshop", "xbm-vehicleid", "xbm-bn-sop")


def full_memory(name: str) -> CrossBatchMemory:
    """The recipe's loss and memory, every row of which is filled: random unit rows in classes of ten."""
    recipe = registry.get(name).torch
    assert recipe is not None and recipe.memory is not None
    arguments = {key: value for key, value in recipe.loss.items() if key != "class"}
    memory = CrossBatchMemory(getattr(losses, recipe.loss["class"])(**arguments), **recipe.memory)
    generator = torch.Generator().manual_seed(1)
    rows = torch.nn.functional.normalize(torch.randn(memory.embeddings.shape, generator=generator))
    memory.enqueue(rows, 1 + torch.arange(memory.memory_size) // 10)
    memory.iteration = memory.start_iteration
    return memory


def run(quick: bool = False) -> list[dict]:
    rows = []
    for name in NAMES[1:2] if quick else NAMES:
        recipe, memory = registry.get(name), full_memory(name)
        size, width = memory.embeddings.shape
        held = memory.embeddings.nbytes + memory.labels.nbytes
        each = recipe.sampler.images_per_class
        x, labels = batch(recipe.sampler.batch_size, width, each)
        # The profiler misses what is freed that it did not see allocated: the most of three steps.
        most = max(peak_bytes(step(memory, x, labels)) for _ in range(3)) + held
        what = f"{size:,} x {width} float32"
        rows.append(
            row(f"{name}: the memory itself", held / 1e6, PAPER, "MB", f"{what} and labels; peer: the paper's bound")
        )
        rows.append(row(f"{name}: with a step of {len(x)}", most / 1e6, PAPER, "MB", "peer: the paper's bound"))
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    for entry in run("--quick" in sys.argv[1:]):
        print("{name:36} {ours:8.1f} of {peer:7.1f} {unit}  {ratio:6.3f}  {note}".format(**entry))
