"""The training loop: steps, evaluations, checkpoints, resume, Ctrl-C.

Files of a run (`out`):

    run.json            what was run, on what; status and verdict when it ends
    steps.jsonl         one line per step: iteration, learning rate, losses   } equal to the bit
    evaluations.jsonl   one line per evaluation: recall and exact hit counts  } for equal runs
    checkpoints/        iteration_NNNNNN.safetensors                          }
    timings.jsonl       seconds per step and per evaluation
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from paper_recipes.recipe import Recipe
from paper_recipes.runner import checkpoint as checkpoints
from paper_recipes.runner import evaluate, loading, neighbours
from paper_recipes.runner.files import write_json
from paper_recipes.runner.plan import Plan
from paper_recipes.runner.prepare import Data
from ports import determinism


class RunError(ValueError):
    """A run that cannot start or go on: what is wrong and what to do."""


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
    engine: Any
    pipeline: Any
    sampler: Any
    out: Path
    seed: int
    device: torch.device
    workers: int | None = None

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"


def train(run: Run, *, resume: bool, say: Callable[[str], None] = print) -> None:
    """Run all iterations that are left. Raises `Interrupted` after writing a checkpoint when the user stops it."""
    done = _resume(run) if resume else _start(run)
    if done:
        say(f"resuming after iteration {done} of {run.plan.iterations}")
    if done == 0 and 0 in run.plan.evaluations:
        _evaluate(run, 0, say)
    stop = _StopSignals()
    batches = loading.train_batches(
        run.data.train, run.sampler, run.pipeline,
        seed=run.seed, first=done, last=run.plan.iterations, device=run.device, workers=run.workers,
    )  # fmt: skip
    with stop, tqdm(total=run.plan.iterations, initial=done, unit="step", desc=run.recipe.name) as progress:
        started = time.perf_counter()
        for iteration, batch in enumerate(batches, start=done + 1):
            # Dropout and the like draw from a stream of this iteration: a resumed run draws the same numbers.
            torch.manual_seed(int(determinism.stream(run.seed, "other", iteration).integers(2**63 - 1)))
            losses = run.engine.step(batch.images, batch.labels)
            row = {"iteration": iteration, "lr": run.engine.learning_rate, "losses": losses}
            _append(run.out / "steps.jsonl", row)
            _append(run.out / "timings.jsonl", {"iteration": iteration, "seconds": time.perf_counter() - started})
            progress.set_postfix(loss=f"{sum(losses.values()):.4f}", refresh=False)
            progress.update()
            if iteration in run.plan.snapshots or stop.requested:
                _save(run, iteration, batch.sampler_state)
            if stop.requested:
                raise Interrupted(iteration)
            if iteration in run.plan.evaluations:
                _evaluate(run, iteration, say)
            started = time.perf_counter()


def _start(run: Run) -> int:
    if checkpoints.latest(run.checkpoints) is not None:
        raise RunError(f"{run.out} already holds a run; add --resume to go on with it, or choose another --out")
    for name in ("steps.jsonl", "evaluations.jsonl", "timings.jsonl"):
        (run.out / name).unlink(missing_ok=True)
    return 0


def _resume(run: Run) -> int:
    """Load the latest checkpoint; returns its iteration (0 where there is none yet)."""
    checkpoints.sweep(run.checkpoints)
    path = checkpoints.latest(run.checkpoints)
    if path is None:
        return _start(run)
    saved = checkpoints.load(path)
    for key, ours in (("fingerprint", run.recipe.fingerprint()), ("seed", run.seed), ("form", run.plan.form)):
        if saved.state[key] != ours:
            raise RunError(f"{path}: its {key} is {saved.state[key]!r}, this run's is {ours!r}; they cannot be joined")
    iteration = int(saved.state["iteration"])
    if iteration > run.plan.iterations:
        raise RunError(f"{path} is past this run's {run.plan.iterations} iterations")
    run.engine.load_tensors(saved.tensors, iteration)
    run.sampler.load_state_dict(saved.state["sampler"])
    for name in ("steps.jsonl", "evaluations.jsonl", "timings.jsonl"):
        _truncate(run.out / name, iteration)
    if iteration in run.plan.evaluations and iteration not in {e["iteration"] for e in read(run.out, "evaluations")}:
        _evaluate(run, iteration, lambda line: None)  # killed between the checkpoint and its evaluation
    return iteration


def _save(run: Run, iteration: int, sampler_state: dict[str, Any]) -> None:
    state = {
        "iteration": iteration,
        "sampler": sampler_state,
        "fingerprint": run.recipe.fingerprint(),
        "seed": run.seed,
        "form": run.plan.form,
    }
    checkpoints.save(
        checkpoints.path_of(run.checkpoints, iteration), checkpoints.Checkpoint(run.engine.tensors(), state)
    )


def _evaluate(run: Run, iteration: int, say: Callable[[str], None]) -> None:
    started = time.perf_counter()
    run.engine.begin_embedding(_calibration(run) if iteration == 0 else ())
    first = iteration == 0
    queries, gallery = evaluate.embed_data(
        evaluate.WithRawPixels(run.engine) if first else run.engine, run.data, run.pipeline,
        batch_size=run.recipe.evaluation.batch_size, device=run.device, workers=run.workers,
    )  # fmt: skip
    extracted = time.perf_counter() - started
    if first:
        take = evaluate.WithRawPixels.take
        _baseline(run, take(queries) or {}, take(gallery), say)
    scores = evaluate.score(queries, gallery, run.data, run.recipe.evaluation)
    neighbours.write(run.out / "neighbours.json", queries, gallery, run.data, run.engine.headline, iteration)
    _append(run.out / "evaluations.jsonl", {"iteration": iteration, **scores.as_json()})
    _append(
        run.out / "timings.jsonl",
        {
            "iteration": iteration,
            "extraction_seconds": extracted,
            "images": len(run.data.test) + len(run.data.gallery or ()),
        },
    )
    shown = "  ".join(f"{k} {v:.1f}" for k, v in scores.metrics[run.engine.headline].items())
    say(f"iteration {iteration}: {run.engine.headline} {shown} on {scores.queries} images of unseen classes")


def _calibration(run: Run) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Training images in test form, for the BatchNorm statistics of an untrained net: 4 batches spread over the split."""
    size = min(run.plan.sampler.batch_size, len(run.data.train))
    index = np.linspace(0, len(run.data.train) - 1, 4 * size).astype(int)
    split = run.data.train.subset(index)
    batches = loading.test_batches(split, run.pipeline, batch_size=size, device=run.device, workers=run.workers)
    for images in batches:
        yield images, torch.zeros(len(images))


def _baseline(
    run: Run, queries: dict[str, np.ndarray], gallery: dict[str, np.ndarray] | None, say: Callable[[str], None]
) -> None:
    """Raw pixels: what a network must beat to have learnt anything."""
    scores = evaluate.score(queries, gallery, run.data, run.recipe.evaluation)
    write_json(run.out / "raw_pixels.json", scores.as_json())
    say("raw pixels: " + "  ".join(f"{k} {v:.1f}" for k, v in scores.metrics["raw pixels"].items()))


def read(out: Path, name: str) -> list[dict[str, Any]]:
    """The lines of `name`.jsonl of a run; a torn last line (killed while writing) is left out."""
    rows = []
    path = out / f"{name}.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _append(path: Path, row: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _truncate(path: Path, iteration: int) -> None:
    kept = [row for row in read(path.parent, path.stem) if row["iteration"] <= iteration]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


class _StopSignals:
    """Ctrl-C or SIGTERM asks the loop to stop after this step; a second one stops at once."""

    def __init__(self) -> None:
        self.requested = False

    def _request(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __enter__(self) -> _StopSignals:
        self._old = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
