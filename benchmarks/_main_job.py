"""The main job set up for timing: what `rll_sop` and `throughput` share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from paper_recipes.recipe import Recipe
from paper_recipes.registry import get
from paper_recipes.runner.data import run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.data.batches import Batch, make_pipeline, train_batches
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.training.parts import make_engine, make_sampler
from ports import determinism


@dataclass(frozen=True)
class MainJob:
    recipe: Recipe
    device: torch.device
    scale: scales.Plan
    data: run_data.Data
    engine: CaffeEngine

    def batches(self, count: int) -> Iterator[Batch]:
        """The first `count` training batches, loaded in this process."""
        return train_batches(
            self.data.train, make_sampler(self.scale, self.data, self.recipe.seed), make_pipeline(self.recipe),
            seed=self.recipe.seed, first=0, last=count, device=self.device, workers=0,
        )  # fmt: skip


def main_job(quick: bool) -> MainJob:
    """On a CPU at the scale of the letters form, on CUDA at the recipe's own batch; `quick` is the smallest scale."""
    recipe = get("rll-sop")
    determinism.configure(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = scales.embedded(recipe, full_batch=device.type == "cuda", smoke=quick)
    data = run_data.open_embedded(recipe, scale, recipe.seed)
    return MainJob(recipe, device, scale, data, make_engine(recipe, scale, data, device=device, seed=recipe.seed))


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
