"""Engine and sampler of a run, as recipe and plan describe them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paper_recipes.recipe import Recipe, Sampler
from paper_recipes.runner.data import run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.engines import processes as process_group
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.engine import Engine
from paper_recipes.runner.engines.torch_engine import TorchEngine
from paper_recipes.runner.run_files import RunError
from ports import determinism, samplers


def make_engine(
    recipe: Recipe,
    scale: scales.Plan,
    data: run_data.Data,
    *,
    device: torch.device,
    seed: int,
    weights: Path | None = None,
    processes: process_group.Replicas | None = None,
) -> Engine:
    """`CaffeEngine` or `TorchEngine`, whichever the recipe describes."""
    dtype = torch.float64 if scale.double else torch.float32
    common: dict[str, Any] = {"device": device, "seed": seed, "weights": weights, "replicas": processes}
    common |= {"fast": scale.fast, "dtype": dtype}
    if recipe.torch is None:
        return CaffeEngine(scales.caffe_at(recipe, scale), **common)
    return TorchEngine(scales.torch_at(recipe, scale, len(data.train)), classes=data.train.num_classes, **common)


def make_sampler(
    scale: scales.Plan, data: run_data.Data, seed: int, processes: process_group.Replicas | None = None
) -> samplers.Sampler:
    """The recipe's sampler, or this process's shard of it."""
    if processes is None or processes.world == 1:
        return _whole_sampler(scale.sampler, data, seed)
    facts = scale.sampler
    if processes.semantics == "caffe":
        if facts.rule == "TrackletSampler":
            raise RunError(
                "--replicas caffe: this recipe's batch names its identities twice over, so that a part of a larger one would "
                "hold single tracklets only; use --replicas global"
            )
        # train_multiGPUs.m multiplies the identities, and cuts the batch into consecutive parts.
        facts = replace(facts, classes_per_batch=facts.classes_per_batch * processes.world)
    try:
        return _whole_sampler(facts, data, seed).shard(processes.rank, processes.world)
    except ValueError as error:
        raise RunError(f"--replicas {processes.semantics} with {processes.world} processes: {error}") from error


def _whole_sampler(facts: Sampler, data: run_data.Data, seed: int) -> samplers.BatchSampler:
    """The originals' constructors take their batch in three forms."""
    labels = data.train.labels
    rule = getattr(samplers, facts.rule)
    options: dict[str, Any] = {"seed": determinism.stream(seed, "sampler"), **facts.options}
    if facts.rule == "TrackletSampler":
        assert data.train.tracks is not None
        _, first, code = np.unique(data.train.tracks, return_index=True, return_inverse=True)
        frames = [np.flatnonzero(code.reshape(-1) == track) for track in range(len(first))]
        per_batch = facts.classes_per_batch * options.pop("tracklets_per_class")
        return rule(frames, labels[first], per_batch=per_batch, frames=facts.batch_size // per_batch, **options)
    if issubclass(rule, (samplers.MsRandomIdentity, samplers.FastRandomIdentity, samplers.ClassBalanced)):
        return rule(labels, batch_size=facts.batch_size, images=facts.images_per_class, **options)
    return rule(labels, ids=facts.classes_per_batch, images=facts.images_per_class, **options)
