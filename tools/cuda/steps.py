"""A recipe's training step and evaluation on the meta device at its own batch: nothing is computed, everything is recorded."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.batches import side
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.torch_engine import TorchEngine
from ports import datasets, determinism, losses
from tools.cuda.recorder import Recorder

META = torch.device("meta")


@dataclass(frozen=True)
class Found:
    """Of one recipe: what a step and an evaluation do, and bytes on the device.

    weights: of the nets, before the first step. state: weights, statistics, momenta and memory of embeddings.
    peak, embedding: the most that is held in a step, and in an evaluation of a run, everything included.
    """

    step: Recorder
    evaluation: Recorder
    weights: int
    state: int
    peak: int
    embedding: int


def key(recipe: Recipe) -> str:
    """Recipes with the same key do the same work on the device."""
    facts = recipe.canonical()
    what = {name: facts.get(name) for name in ("caffe", "torch")}
    many = None
    if (
        recipe.torch is not None
    ):  # rates and lengths change no operation, classes only those of a loss with a weight for each
        del what["torch"]["phases"]
        loss = getattr(losses, recipe.torch.loss["class"])
        many = classes(recipe) if "num_classes" in inspect.signature(loss).parameters else None
    size = recipe.sampler.batch_size
    return json.dumps([what, size, recipe.sampler.classes_per_batch, side(recipe), many, recipe.evaluation.batch_size])


def classes(recipe: Recipe) -> int:
    """Training classes of the recipe's data set; 100 where no figure is published."""
    return datasets.describe(recipe.dataset).counts.get("train", (None, None))[1] or 100


def batch(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Images without numbers, on the CPU as the loaders give them, and labels class after class."""
    sampler, pixels = recipe.sampler, side(recipe)
    labels = torch.arange(float(sampler.classes_per_batch)).repeat_interleave(sampler.images_per_class)
    return torch.empty(sampler.batch_size, 3, pixels, pixels), labels


def engine_of(recipe: Recipe) -> Any:
    if recipe.torch is None:
        return CaffeEngine(recipe.the_caffe(), device=META, seed=recipe.seed)
    made = TorchEngine(recipe.torch, classes=classes(recipe), device=META, seed=recipe.seed)
    made.updates = sum(phase.iterations for phase in recipe.torch.phases[:-1])  # the last phase trains everything
    if recipe.torch.memory is not None:  # nearly full, as it is most of the time
        made.loss.iteration = made.loss.start_iteration
        made.loss.pointer = made.loss.stored = made.loss.memory_size - 3 * recipe.sampler.batch_size
    return made


def run(recipe: Recipe) -> Found:
    """Two steps, of which the second has the optimiser's state; then an evaluation."""
    determinism.configure(recipe.seed, cudnn=recipe.cudnn)
    images, labels = batch(recipe)
    recorder = Recorder()
    with as_on_a_gpu(), recorder:
        engine = engine_of(recipe)
        weights = recorder.live
        engine.step(images, labels)
        state = sum(tensor.untyped_storage().nbytes() for tensor in engine.tensors().values() if tensor.device == META)
        recorder.forget()
        engine.step(images, labels)
        engine.gradient_norm  # noqa: B018 - the loop looks at it after every step
    evaluation = Recorder()
    evaluation.live = evaluation.peak = recorder.live
    with evaluation:
        engine.begin_embedding()
        engine.embed(torch.empty(recipe.evaluation.batch_size, *images.shape[1:]))
    return Found(recorder, evaluation, weights, state, recorder.peak, evaluation.peak)


def memory(recipe: Recipe, found: Found) -> dict[str, int]:
    """The fields of `paper_recipes.gpu_memory.GpuMemory`."""
    return {"batch": recipe.sampler.batch_size, "state": found.state, "step": found.peak, "evaluation": found.embedding}


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """torch's optimisers take their fused-by-list way on a GPU only; here it counts as one."""
    module: Any = importlib.import_module("torch.optim.optimizer")
    kept = module._get_foreach_kernels_supported_devices
    module._get_foreach_kernels_supported_devices = lambda: [*kept(), "meta"]
    try:
        yield
    finally:
        module._get_foreach_kernels_supported_devices = kept
