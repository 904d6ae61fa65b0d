"""What the rest of the runner asks of a network, whichever framework it is of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch

from paper_recipes.runner.engines.starting_weights import Loaded

Tensors = dict[str, torch.Tensor]


class Embedder(Protocol):
    """What turns test images into embeddings."""

    def embed(self, images: torch.Tensor) -> Tensors:
        """Raw embeddings by name, (N, D) float32 on the CPU, of images (N, 3, H, W) float32."""


class Model(Embedder, Protocol):
    """A network that can be scored: made ready by `begin_embedding`, then asked to `embed` batch by batch."""

    headline: str  # name of the embedding that the paper reports first

    def begin_embedding(self, calibration: Iterable[tuple[torch.Tensor, torch.Tensor]] = ()) -> None:
        """Make ready for `embed`. `calibration`, batches of (images, labels), serves a net that has no statistics yet."""


class Engine(Model, Protocol):
    """A network that is trained, and kept between its steps."""

    import_report: Loaded | None  # what was done with the starting weights

    @property
    def learning_rate(self) -> float:
        """Of the last step."""

    @property
    def gradient_norm(self) -> float:
        """Of the last step, over all parameters."""

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """One update; the losses before it, by name."""

    def tensors(self) -> Tensors:
        """Everything the next step depends on, besides the iteration."""

    def load_tensors(self, tensors: Tensors, iteration: int) -> None:
        """Continue after `iteration` steps; `tensors` come from `tensors()` of an engine of the same recipe."""

    def load_weights(self, tensors: Tensors) -> None:
        """The network alone, for evaluation."""
