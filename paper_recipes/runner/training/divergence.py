"""A run whose numbers are no numbers any more ends at that step.

NaN spreads: one step later every weight is NaN, and everything that is computed from then on says nothing. The checks are one
look at numbers that a step reports anyway (its losses, and the norm of its gradients), at the weights before they are written
to a checkpoint, and at the embeddings by the metric that ranks them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.engines import gradients
from paper_recipes.runner.training.state import Run


class Diverged(Exception):
    """A loss, gradient norm, weight or embedding of `iteration` is not finite. Its text is the line that a user reads."""

    def __init__(self, run: Run, iteration: int, what: str, losses: dict[str, float]) -> None:
        self.iteration, self.what, self.losses = iteration, what, losses
        self.learning_rate, self.gradient_norm = run.engine.learning_rate, run.engine.gradient_norm
        self.checkpoint = last_good(run.checkpoints, iteration)
        shown = ", ".join(f"{name} {value:.6g}" for name, value in losses.items()) or "no step yet"
        super().__init__(
            f"diverged at iteration {iteration}: {what}; {shown}, learning rate {self.learning_rate:g}; "
            f"last good checkpoint: {self.checkpoint or 'none'}"
        )

    def as_json(self) -> dict[str, Any]:
        """For the run record: strict JSON, which has no NaN."""
        return {
            "iteration": self.iteration,
            "what": self.what,
            "losses": {name: _number(value) for name, value in self.losses.items()},
            "learning_rate": self.learning_rate,
            "gradient_norm": _number(self.gradient_norm),
            "last_good_checkpoint": self.checkpoint and self.checkpoint.name,
            "line": str(self),
        }


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def last_good(folder: Path, iteration: int) -> Path | None:
    """The newest checkpoint from before `iteration`. What is written has finite weights; one of `iteration` itself may be
    there, of which it is known that it embeds nothing."""
    found = [path for path in folder.glob("iteration_*.safetensors") if path < checkpoints.path_of(folder, iteration)]
    return max(found, default=None)


def check_step(run: Run, iteration: int, losses: dict[str, float]) -> None:
    """Raise `Diverged` where a loss or the gradient norm of the step is not finite."""
    wrong = [name for name, value in losses.items() if not math.isfinite(value)]
    norm = run.engine.gradient_norm
    if wrong:
        raise Diverged(run, iteration, f"{', '.join(wrong)} not finite", losses)
    if not math.isfinite(norm):
        raise Diverged(run, iteration, f"gradient norm {norm} not finite", losses)


def check_weights(run: Run, iteration: int, losses: dict[str, float]) -> None:
    """Raise `Diverged` where the last update left a weight, statistic or momentum that is not finite."""
    tensors = {name: tensor.detach() for name, tensor in run.engine.tensors().items() if tensor.is_floating_point()}
    if math.isfinite(gradients.total_norm([tensor.to(run.device) for tensor in tensors.values()])):
        return  # the fast look; isfinite of each tensor takes several times as long
    wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if wrong:
        what = f"{len(wrong)} of {len(tensors)} weights and statistics not finite, {wrong[0]} first"
        raise Diverged(run, iteration, what, losses)
