"""Whole steps on the letters: the training net, its loss and its solver at once, on the pictures of the letters form.

The authors' own programs took the same steps from the same seeded weights. In float64 two right programs agree to 1e-15
after a step and part slowly, until one entry of one ReLU has another sign; that is why no more than three are held to it.
In float32 the engine runs exactly as it does in training, memory layout included.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import golden
from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.batches import make_pipeline
from paper_recipes.runner.data.letters import with_boxes
from paper_recipes.runner.data.run_data import cache_folder
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.evidence.row import Row, recorded, unverified
from paper_recipes.runner.evidence.spill import to_disk
from ports import determinism, images
from ports.datasets import glyphs
from ports.datasets.split import Split
from ports.images.osm import corners

LINK = "whole steps on the letters"
_REFERENCE = "authors' Solver on the letters"
_FOLDER = golden.DATA / "letters"
# Relative differences. float64: the authors' program against itself with another BLAS kernel gives 6e-16 in the first
# loss and 8e-13 in the third; ours 1e-15 and 3e-13. torch's own BatchNorm gives 3e-13 in the first.
FIRST_LOSS, LOSSES = 1e-14, 1e-9
# float32, medians over blobs: the authors' float32 is 7e-6 from their float64 in the momentum, and ours from theirs; with
# torch's own BatchNorm in channels-last memory it was 3.5e-3.
MOMENTUM_32 = 2e-5
_STEPS = 3


def applies(recipe: Recipe) -> bool:
    """Whether this very recipe's letters form was run by the authors' program."""
    return (_FOLDER / recipe.name).is_dir()


def whole_steps(recipe: Recipe, steps: int = _STEPS) -> Row:
    manifest = json.loads((_FOLDER / recipe.name / "manifest.json").read_text(encoding="utf-8"))
    pictures = Pictures(recipe, manifest)
    if not pictures.as_recorded(0):
        return unverified(
            LINK,
            _REFERENCE,
            "the letters drawn here differ from the recorded ones (another Pillow, FreeType or matplotlib?)",
        )
    with np.load(_FOLDER / recipe.name / "steps.npz") as arrays:
        double = follow(recipe, manifest, pictures, arrays, torch.float64, steps)
        single = follow(recipe, manifest, pictures, arrays, torch.float32, 1)
    worst = max(*double["losses"], double["parameters"], double["momentum"])
    row = recorded(
        LINK,
        _REFERENCE,
        f"losses of {steps} steps, parameters and momentum after the first, float64 (first loss {double['losses'][0]:.1g}); "
        f"momentum in float32 as it trains: {single['momentum median']:.1g} (limit {MOMENTUM_32:.0e})",
        worst,
        LOSSES,
    )
    if double["losses"][0] <= FIRST_LOSS and single["momentum median"] <= MOMENTUM_32:
        return row
    return recorded(LINK, _REFERENCE, row.compared, float("inf"), LOSSES)


def seeded_engine(recipe: Recipe, manifest: dict[str, Any], dtype: torch.dtype = torch.float32) -> CaffeEngine:
    """The engine as a run starts it without weights; in float64 everything else stays. Raises ValueError where the fillers
    draw other numbers than they did.
    """
    engine = CaffeEngine(recipe.the_caffe(), device=torch.device("cpu"), seed=manifest["seed"], dtype=dtype)
    lines = [
        f"{name}:{i} {_sha256(blob.detach().float())}"
        for name, blobs in engine.solver.net.params.items()
        for i, blob in enumerate(blobs)
    ]
    if hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() != manifest["initial_sha256"]:
        raise ValueError(f"{recipe.name}: the seeded weights differ from those that the authors' program was given")
    return engine


def follow(
    recipe: Recipe, manifest: dict[str, Any], pictures: Pictures, arrays: Any, dtype: torch.dtype, steps: int
) -> dict[str, Any]:
    """Relative errors of the recorded steps: "losses" (the largest head of each step), and after the first step, by blob
    and relative to its largest sample, "parameters" and "momentum" (largest) and "momentum median".
    """
    prefix = "f64" if dtype == torch.float64 or "f32/losses" not in arrays else "f32"
    engine = seeded_engine(recipe, manifest, dtype)
    solver = engine.solver
    errors: dict[str, Any] = {"losses": []}
    for step, (batch, labels) in zip(range(steps), pictures):
        with to_disk(solver.net) if dtype == torch.float64 else contextlib.nullcontext():
            losses = engine.step(batch, labels)
        want = arrays[f"{prefix}/losses"][step]
        errors["losses"].append(max(abs(losses[top] / w - 1) for top, w in zip(manifest["loss_tops"], want)))
        if step == 0:
            blobs = {"parameters": [blob.tensor for blob in solver.net.learnable], "momentum": solver.optimizer.history}
            for kind, tensors in blobs.items():
                by_blob = [_error(t, w) for t, w in zip(tensors, arrays[f"{prefix}/{kind}"], strict=True)]
                errors |= {kind: max(by_blob), f"{kind} median": float(np.median(by_blob))}
    return errors


def _error(blob: torch.Tensor, want: NDArray[Any]) -> float:
    """Of the eight samples, in units of the largest of them."""
    flat = blob.detach().contiguous().view(-1)
    got = flat[[(k * (flat.numel() - 1)) // 7 for k in range(8)]].double().numpy()
    largest = np.abs(want).max()
    return float(np.abs(got - want).max() / (largest if largest > 0 else 1.0))


class Pictures:
    """The recorded batches, made from the letters as training makes them: (images (N, 3, H, W) float32, labels (N,))."""

    def __init__(self, recipe: Recipe, manifest: dict[str, Any]) -> None:
        self.steps, self.seed = manifest["steps"], manifest["seed"]
        self.pipeline = make_pipeline(recipe)
        split = glyphs.some(cache_folder() / "glyphs", [path for step in self.steps for path in step["paths"]])["train"]
        place = {path: i for i, path in enumerate(split.paths)}
        self.batches = [
            self._boxed(recipe, split.subset([place[path] for path in step["paths"]])) for step in self.steps
        ]

    @staticmethod
    def _boxed(recipe: Recipe, split: Split) -> Split:
        return with_boxes(split) if recipe.boxes else split

    def batch(self, step: int) -> torch.Tensor:
        split = self.batches[step]
        boxes = [None] * len(split) if split.boxes is None else corners(split.boxes).tolist()
        made = [
            images.load(file, self.pipeline, determinism.stream(self.seed, "augmentation", step, position), box=box)
            for position, (file, box) in enumerate(zip(split.files(), boxes))
        ]
        return torch.from_numpy(np.stack(made))

    def as_recorded(self, step: int) -> bool:
        return _sha256(self.batch(step)) == self.steps[step]["images_sha256"]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step, facts in enumerate(self.steps):
            yield self.batch(step), torch.tensor(facts["labels"], dtype=torch.float32)


def _sha256(values: torch.Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()
