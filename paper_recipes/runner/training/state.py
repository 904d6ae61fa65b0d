"""What a run is made of while it runs, and the exception that ends it early."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.data.scale import Plan
from paper_recipes.runner.engines.engine import Engine
from paper_recipes.runner.engines.processes import Replicas
from paper_recipes.runner.training.mirror import Mirror, nothing
from ports.images import Pipeline
from ports.samplers import Sampler


class Interrupted(Exception):
    """The user pressed Ctrl-C (or the process got SIGTERM); the checkpoint at `iteration` is usable."""

    def __init__(self, iteration: int) -> None:
        super().__init__(f"stopped at iteration {iteration}")
        self.iteration = iteration


@dataclass
class Run:
    recipe: Recipe
    plan: Plan
    data: Data
    engine: Engine
    pipeline: Pipeline
    sampler: Sampler
    out: Path
    seed: int
    device: torch.device
    workers: int | None = None
    replicas: Replicas = field(default_factory=Replicas)
    mirror: Mirror = nothing  # what is told of steps and evaluations besides the run's own files
    at: str = ""  # what it is doing, in words; empty as long as nothing has begun

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"
