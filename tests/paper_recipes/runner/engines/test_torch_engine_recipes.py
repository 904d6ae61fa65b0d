"""Recipes take their whole path for two steps on a handful of letters (the chain of evidence left out).

One recipe of each path by default; DML_PORTS_ALL_RECIPES=1 takes all of them (half a minute each).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os

import pytest
from torch import nn

from paper_recipes import registry
from paper_recipes.runner import run, run_files
from paper_recipes.runner.engines import checkpoint, networks
from ports.batch_norm import BatchNorm2d

PATHS = (
    "rll-tpami-inshop",  # queries and a gallery
    "rll-tpami-market1501",  # person re-identification with cameras
    "osm-mars",  # tracklets, four classifiers, two metric losses
    "ms-cub",  # orthogonal head, Adam with frozen BatchNorm statistics
    "xbm-inshop",  # cross-batch memory
    "cls-cub",  # classifier warm-up, binary features
    "dm-semi-hard-cub",
)


BACKBONES = sorted({recipe.torch.backbone["class"] for recipe in registry.RECIPES.values() if recipe.torch is not None})


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_backbone_has_torchs_own_batch_norm(backbone):
    """Images are channels-last on a CPU, where torch's loses three digits more than ours (docs/speed.md)."""
    kinds = {type(layer) for layer in networks.BACKBONES[backbone]().modules()}
    assert BatchNorm2d in kinds and not kinds & {nn.BatchNorm1d, nn.BatchNorm2d}


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.RECIPES if os.environ.get("DML_PORTS_ALL_RECIPES") == "1" else PATHS)
def test_two_steps(name, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "chain", lambda *_: [{"link": "left out"}])  # tests/paper_recipes/runner/evidence has it
    recipe = registry.get(name)
    assert run.run(recipe, run.Options(out=tmp_path, smoke=True, threads=1)) == 0
    steps, evaluations = run_files.read(tmp_path, "steps"), run_files.read(tmp_path, "evaluations")
    assert [row["iteration"] for row in steps] == [1, 2] and [row["iteration"] for row in evaluations] == [0, 1, 2]
    assert all(math.isfinite(value) for row in steps for value in row["losses"].values())
    assert all(tuple(row["metrics"]) == recipe.embeddings for row in evaluations)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        {"class": "ProxyNCALoss", "embedding_dim": 512},
        {"class": "MarginLoss", "num_classes": 100, "learn_beta": True},
    ],
    ids=lambda loss: loss["class"],
)
def test_a_recipe_with_a_weight_per_class(loss, tmp_path):
    recipe = registry.get("ms-cub")
    assert recipe.torch is not None
    small = {**recipe.images, "crop": 64}  # a twelfth of the work
    recipe = dataclasses.replace(recipe, images=small, torch=dataclasses.replace(recipe.torch, loss=loss))
    assert run.run(recipe, run.Options(out=tmp_path, smoke=True, threads=1, iterations=2, report=False)) == 0
    steps = run_files.read(tmp_path, "steps")
    assert len(steps) == 2 and all(math.isfinite(row["losses"]["loss"]) for row in steps)
    saved = checkpoint.load(checkpoint.latest(tmp_path / "checkpoints")).tensors
    classes = json.loads((tmp_path / "run.json").read_text())["data"]["train"]["classes"]
    assert [len(saved[name]) for name in ("loss/weight", "loss/beta") if name in saved] == [classes]
