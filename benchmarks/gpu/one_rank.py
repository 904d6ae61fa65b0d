"""One of the processes of the part `two_processes`: `python -m benchmarks.gpu.one_rank BACKEND SETTING FOLDER`.

rll-sop in float64, whose batch is cut in two with BatchNorm over all of it: the losses and weights must be those that one
process computes. Then each with a batch of its own, twice: the same bits, on both ranks.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.gpu.jobs import double_engine, random_batch
from benchmarks.gpu.parts.cpu_against_cuda import TOLERANCE, largest
from benchmarks.gpu.setting import Setting, row
from paper_recipes.recipe import Recipe
from paper_recipes.registry import get
from paper_recipes.runner.engines.processes import Replicas
from ports import determinism


def run(
    recipe: Recipe, device: torch.device, replicas: Replicas, steps: int, each: int
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Losses of each step, and the tensors after the last."""
    engine, losses = double_engine(recipe, device, replicas), []
    for step in range(steps):
        images, labels = random_batch(recipe, 2, each, seed=step, dtype=torch.float64)
        part = slice(None)
        if replicas.world > 1:
            count = len(images) // replicas.world
            part = slice(replicas.rank * count, (replicas.rank + 1) * count)
        losses.append(engine.step(images[part], labels[part]))
    return losses, {name: tensor.detach().double().cpu() for name, tensor in engine.tensors().items()}


def digest(tensors: dict[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(tensors[name].contiguous().numpy().tobytes())
    return total.hexdigest()


def cases(recipe: Recipe, device: torch.device, rank: int, world: int, *, toy: bool) -> list[dict[str, Any]]:
    size = (1, 2) if toy else (2, 6)  # steps, images of each of two classes
    alone_losses, alone = run(recipe, device, Replicas(), *size)
    parts = Replicas("global", rank, world, sync_bn=True)
    losses, together = run(recipe, device, parts, *size)
    where, error = largest(alone, together, set())
    same = digest(run(recipe, device, parts, *size)[1]) == digest(together)
    own = Replicas("caffe", rank, world)
    first, second = (run(recipe, device, own, *size)[1] for _ in range(2))
    everywhere: list[Any] = [None] * world
    # With a batch each, what is not the root's own keeps momenta of its own statistics, which nobody reads again.
    weights = {name: tensor for name, tensor in first.items() if name.startswith("blob/")}
    dist.all_gather_object(everywhere, [digest(together), digest(weights)])
    own_same = digest(first) == digest(second)
    equal = same and own_same and all(found == everywhere[0] for found in everywhere)
    print(f"parts again {same}, own batches again {own_same}, ranks {everywhere}", flush=True)
    loss = max(abs(a[k] - b[k]) / abs(a[k]) for a, b in zip(alone_losses, losses) for k in a)
    return [
        row(
            f"one batch in {world} parts against one process, {size[0]} steps in float64",
            max(error, loss), target=f"<= {TOLERANCE:g}", unit="relative", note=f"losses {loss:.1e}; the most in {where}",
            holds=max(error, loss) <= TOLERANCE,
        ),
        row(
            "the same again, and a batch each, twice: equal bits, and equal weights on all ranks",
            "equal bits" if equal else "differs", target="equal bits", note=digest(together)[:16], holds=equal,
        ),
    ]  # fmt: skip


def main(backend: str, text: str, folder: str) -> None:
    setting, recipe = Setting(**json.loads(text)), get("rll-sop")
    determinism.configure(recipe.seed)
    device = torch.device(setting.device, 0) if setting.device == "cuda" else torch.device("cpu")
    dist.init_process_group(f"cpu:gloo,cuda:{backend}" if device.type == "cuda" else "gloo")
    rank = dist.get_rank()
    found = cases(recipe, device, rank, dist.get_world_size(), toy=setting.toy)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
