"""A few steps of small nets, alone or as one of several processes; imported by the test and run as a script by it.

`python replica_steps.py OUT` writes, as rank R, OUT/CASE-R.pt: the losses and the tensors after each step. With
`--published`, OUT/RECIPE-R.pt: losses and gradients of one step of whole networks as they were published.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from helpers import tiny
from paper_recipes import registry
from paper_recipes.recipe import Phase, Torch
from paper_recipes.runner.engines import networks
from paper_recipes.runner.engines import processes as process_group
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.torch_engine import TorchEngine
from ports import determinism

CPU = torch.device("cpu")
STEPS, CLASSES, EACH = 3, 4, 3


class Small(nn.Module):
    """Two convolutions with BatchNorm, global mean: (N, 3, 9, 9) -> (N, 6)."""

    def __init__(self) -> None:
        super().__init__()
        # No biases before BatchNorm: their gradient is 0, of which nothing but rounding would be compared.
        first, second = nn.Conv2d(3, 5, 3, bias=False), nn.Conv2d(5, 6, 3, bias=False)
        self.body = nn.Sequential(first, nn.BatchNorm2d(5), nn.ReLU(), second, nn.BatchNorm2d(6))

    def forward(self, x):
        return torch.relu(self.body(x)).mean(dim=(2, 3))


networks.BACKBONES["Small"] = Small


def _torch(loss: dict[str, Any], **fields: Any) -> Torch:
    return Torch(
        backbone={"class": "Small"},
        head={"class": "LinearHead", "in_dim": 6, "out_dim": 5},
        loss=loss,
        **{"optimizer": {"class": "SGD", "momentum": 0.9}, "phases": (Phase(iterations=9, lr=0.1),), **fields},
    )


TORCH = {
    "frozen": _torch({"class": "MultiSimilarityLoss"}, frozen_bn=True),
    "plain": _torch({"class": "MultiSimilarityLoss"}),
    "weights": _torch({"class": "NormSoftmaxLoss", "embedding_dim": 5}),
    "memory": _torch(
        {"class": "ContrastiveLoss", "margin": 0.5, "cutoff": 1 - 1e-5},
        memory={"embedding_dim": 5, "memory_size": 30, "start_iteration": 0},
    ),
}
# case -> (semantics, sync_bn); what stands before the dot is the recipe
CASES = {
    "caffe-net.caffe": ("caffe", False),
    "caffe-net.global": ("global", True),
    "caffe-net.parts": ("global", False),
    "frozen.global": ("global", False),
    "plain.caffe": ("caffe", False),
    "plain.global": ("global", True),
    "weights.caffe": ("caffe", False),
    "weights.global": ("global", True),
    "memory.global": ("global", True),
}


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """CLASSES x EACH images and their labels."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.arange(CLASSES).repeat_interleave(EACH).double()
    pictures = torch.randn(CLASSES * EACH, 3, 9, 9, generator=generator, dtype=torch.float64)
    return pictures + labels[:, None, None, None] / 2, labels


def pictures(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same labels with pictures for the tiny Caffe net."""
    small, labels = batch(step)
    return torch.nn.functional.interpolate(50 * small, size=(227, 227)), labels


def engine(recipe: str, processes: process_group.Replicas | None = None, *, dropout: bool = True) -> Any:
    """In double precision, so that nothing but the order of sums is left to differ."""
    if recipe != "caffe-net":
        return TorchEngine(TORCH[recipe], classes=CLASSES, device=CPU, seed=1, replicas=processes, dtype=torch.float64)
    caffe = tiny.recipe().the_caffe()
    if not dropout:
        caffe.train_net["layer"] = [layer for layer in caffe.train_net["layer"] if layer["type"] != "Dropout"]
    return CaffeEngine(caffe, device=CPU, seed=1, replicas=processes, dtype=torch.float64)


def data(recipe: str, step: int, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = (pictures if recipe == "caffe-net" else batch)(step)
    return images[part], labels[part]


# recipe -> (blocks of a batch, images in each): blocks are classes, or the tracklets that the net slices its batch into
PUBLISHED = {"rll-sop": (4, 2), "osm-mars": (6, 2)}


def published_step(recipe: str, processes: process_group.Replicas) -> tuple[dict[str, float], list[torch.Tensor]]:
    """Losses and gradients of a Caffe release's training net in double precision, on smooth noise."""
    caffe = registry.get(recipe).the_caffe()
    made = CaffeEngine(caffe, device=CPU, seed=1, replicas=processes, dtype=torch.float64)
    blocks, each = PUBLISHED[recipe]
    size = caffe.train_net["input_dim"][2]
    generator = torch.Generator().manual_seed(3)
    noise = 60 * torch.randn(blocks * each, 3, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(blocks).double()
    if recipe == "osm-mars":  # each person twice: a b c a b c
        labels = labels % (blocks // 2)
    part = slice(None) if processes.world == 1 else part_of(processes.rank, processes.world, blocks * each)
    images = torch.nn.functional.interpolate(noise, size=(size, size), mode="bilinear")[part]
    losses = made.step(images, labels.repeat_interleave(each)[part])
    return losses, [blob.tensor.grad for blob in made.solver.net.learnable if blob.tensor.grad is not None]


def part_of(rank: int, world: int, count: int = CLASSES * EACH) -> slice:
    size = count // world
    return slice(rank * size, (rank + 1) * size)


def copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def seed(step: int, rank: int) -> None:
    torch.manual_seed(100 * step + rank)  # for Dropout


def published(out: Path) -> None:
    determinism.configure(0)
    with process_group.joined("global", sync_bn=True, device=CPU) as processes:
        for recipe in PUBLISHED:
            torch.save(published_step(recipe, processes), out / f"{recipe}-{processes.rank}.pt")


def main(out: Path) -> None:
    determinism.configure(0)
    with process_group.joined("global", device=CPU) as joined:
        for case, (semantics, sync_bn) in CASES.items():
            recipe = case.split(".")[0]
            processes = process_group.Replicas(semantics, joined.rank, joined.world, sync_bn=sync_bn)
            of = engine(recipe, processes, dropout=semantics == "caffe")
            steps = []
            for step in range(STEPS):
                seed(step, processes.rank)
                losses = of.step(*data(recipe, step, part_of(processes.rank, processes.world)))
                steps.append((losses, copied(of.tensors())))
            torch.save(steps, out / f"{case}-{processes.rank}.pt")


if __name__ == "__main__":
    (published if "--published" in sys.argv else main)(Path(sys.argv[1]))
