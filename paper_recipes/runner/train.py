"""The training loop: steps, evaluations, checkpoints, resume, Ctrl-C.

Files of a run (`out`):

    run.json            what was run, on what; status and verdict when it ends
    steps.jsonl         one line per step: iteration, learning rate, losses   } equal to the bit
    evaluations.jsonl   one line per evaluation: recall and exact hit counts  } for equal runs
    checkpoints/        iteration_NNNNNN.safetensors                          }
    timings.jsonl       seconds per step and per evaluation

Of several processes the root writes them; all of them read the checkpoint that they resume from.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from paper_recipes.recipe import Recipe
from paper_recipes.runner import checkpoint as checkpoints
from paper_recipes.runner import interim, loading
from paper_recipes.runner.files import write_atomically
from paper_recipes.runner.plan import Plan
from paper_recipes.runner.prepare import Data
from paper_recipes.runner.replicas import Replicas
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
    replicas: Replicas = field(default_factory=Replicas)

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
    root = run.replicas.root
    stop = _StopSignals()
    batches = loading.train_batches(
        run.data.train, run.sampler, run.pipeline,
        seed=run.seed, first=done, last=run.plan.iterations, device=run.device, workers=run.workers,
        rank=run.replicas.rank,
    )  # fmt: skip
    bar = tqdm(total=run.plan.iterations, initial=done, unit="step", desc=run.recipe.name, disable=not root)
    with stop, bar as progress:
        started = time.perf_counter()
        for iteration, batch in enumerate(batches, start=done + 1):
            torch.manual_seed(_seed(run, iteration))
            losses = run.engine.step(batch.images, batch.labels)
            if root:
                row = {"iteration": iteration, "lr": run.engine.learning_rate, "losses": losses}
                _append(run.out / "steps.jsonl", row)
                _append(run.out / "timings.jsonl", {"iteration": iteration, "seconds": time.perf_counter() - started})
            progress.set_postfix(loss=f"{sum(losses.values()):.4f}", refresh=False)
            progress.update()
            stopping = run.replicas.any(stop.requested)  # signals do not reach all processes in the same step
            if root and (iteration in run.plan.snapshots or stopping):
                _save(run, iteration, batch.sampler_state)
            if stopping:
                raise Interrupted(iteration)
            if iteration in run.plan.evaluations:
                _evaluate(run, iteration, say)
            started = time.perf_counter()


def _seed(run: Run, iteration: int) -> int:
    """Dropout and the like draw from a stream of this iteration (and process): a resumed run draws the same numbers."""
    counter = (iteration,) if run.replicas.root else (iteration, run.replicas.rank)
    return int(determinism.stream(run.seed, "other", *counter).integers(2**63 - 1))


def _start(run: Run) -> int:
    if checkpoints.latest(run.checkpoints) is not None:
        raise RunError(f"{run.out} already holds a run; add --resume to go on with it, or choose another --out")
    for name in ("steps.jsonl", "evaluations.jsonl", "timings.jsonl"):
        if run.replicas.root:
            (run.out / name).unlink(missing_ok=True)
    return 0


def _resume(run: Run) -> int:
    """Load the latest checkpoint; returns its iteration (0 where there is none yet)."""
    if run.replicas.root:
        checkpoints.sweep(run.checkpoints)
    path = run.replicas.agree(checkpoints.latest(run.checkpoints))
    if path is None:
        return _start(run)
    saved = checkpoints.load(path)
    for key, ours in _identity(run).items():
        theirs = saved.state.get(key)
        if theirs != ours:
            raise RunError(f"{path}: its {key} is {theirs!r}, this run's is {ours!r}; they cannot be joined")
    iteration = int(saved.state["iteration"])
    if iteration > run.plan.iterations:
        raise RunError(f"{path} is past this run's {run.plan.iterations} iterations")
    run.engine.load_tensors(saved.tensors, iteration)
    run.sampler.load_state_dict(saved.state["sampler"])
    for name in ("steps.jsonl", "evaluations.jsonl", "timings.jsonl"):
        if run.replicas.root:
            _truncate(run.out / name, iteration)
    evaluated = run.replicas.agree({row["iteration"] for row in read(run.out, "evaluations")})
    if iteration in run.plan.evaluations and iteration not in evaluated:
        _evaluate(run, iteration, lambda line: None)  # killed between the checkpoint and its evaluation
    return iteration


def _identity(run: Run) -> dict[str, Any]:
    """What a checkpoint must share with the run that goes on from it."""
    return {
        "fingerprint": run.recipe.fingerprint(),
        "seed": run.seed,
        "form": run.plan.label,
        "replicas": run.replicas.describe(),
    }


def _save(run: Run, iteration: int, sampler_state: dict[str, Any]) -> None:
    # What a run of one process leaves out was not there before, either: old checkpoints go on.
    identity = {key: value for key, value in _identity(run).items() if value is not None}
    state = {"iteration": iteration, "sampler": sampler_state, **identity}
    path = checkpoints.path_of(run.checkpoints, iteration)
    checkpoints.save(path, checkpoints.Checkpoint(run.engine.tensors(), state))


def _evaluate(run: Run, iteration: int, say: Callable[[str], None]) -> None:
    rows = interim.evaluate_now(run, iteration, say)
    for name, row in rows.items() if run.replicas.root else ():
        _append(run.out / f"{name}.jsonl", {"iteration": iteration, **row})


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
    text = "".join(json.dumps(row) + "\n" for row in kept)

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomically(path, write)


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
