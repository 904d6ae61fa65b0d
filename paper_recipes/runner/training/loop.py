"""The training loop: steps, evaluations, checkpoints, resume, Ctrl-C.

Of several processes the root writes the run's files (`run_files.py` lists them); all of them read the checkpoint that they
resume from.
"""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from paper_recipes.runner import manifest, run_files
from paper_recipes.runner.data import pictures
from paper_recipes.runner.data.batches import train_batches
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring import saved
from paper_recipes.runner.training import divergence, evaluation
from paper_recipes.runner.training.progress import Progress
from paper_recipes.runner.training.state import Interrupted, Run
from ports import determinism
from ports.files import sweep
from ports.metrics.finite import RowsError

_LINES = ("steps.jsonl", "evaluations.jsonl", "timings.jsonl")


def train(run: Run, *, resume: bool, say: Callable[[str], None] = print) -> None:
    """Run all iterations that are left.

    Raises `Interrupted` after writing a checkpoint when the user stops it, `Diverged` at the first number that is not finite.
    """
    if run.replicas.root:
        sweep(run.out, run.checkpoints, run.out / saved.FOLDER)  # what a killed run was writing
    done = _resume(run, say) if resume else _start(run)
    if done:
        say(f"resuming after iteration {done} of {run.plan.iterations}")
    if done == 0 and 0 in run.plan.evaluations:
        _evaluate(run, 0, say)
    root = run.replicas.root
    stop = _StopSignals()
    with stop, Progress(run, done, say) as progress, warnings.catch_warnings():
        # `divergence` says it, in the one line that ends the run.
        warnings.filterwarnings("ignore", message=r".* the loss is NaN$", category=RuntimeWarning)
        started = time.perf_counter()
        for step in steps(run, done):
            iteration, losses, seconds = step.iteration, step.losses, time.perf_counter() - started
            if root:
                row = {"iteration": iteration, "lr": run.engine.learning_rate, "losses": losses}
                run_files.append(run.out / "steps.jsonl", row)
                run.mirror("steps", row)
                run_files.append(run.out / "timings.jsonl", {"iteration": iteration, "seconds": seconds})
            progress.step(iteration, losses, run.engine.learning_rate, seconds)
            stopping = run.replicas.any(stop.requested)  # signals do not reach all processes in the same step
            if iteration in run.plan.snapshots or stopping:
                divergence.check_weights(run, iteration, losses)  # every process has the same ones
                if root:
                    run.at = f"the checkpoint of iteration {iteration}"
                    _save(run, iteration, step.sampler_state)
            if stopping:
                raise Interrupted(iteration)
            if iteration in run.plan.evaluations:
                _evaluate(run, iteration, say, losses)
            started = time.perf_counter()


@dataclass(frozen=True)
class Step:
    iteration: int
    losses: dict[str, float]
    sampler_state: dict[str, Any]  # after its batch was drawn


def steps(run: Run, done: int) -> Iterator[Step]:
    """The updates after iteration `done`, which engine and sampler stand at, to the plan's last.

    Raises `Diverged` at a loss or gradient that is not finite.
    """
    batches = train_batches(
        run.data.train, run.sampler, run.pipeline,
        seed=run.seed, first=done, last=run.plan.iterations, device=run.device, workers=run.workers,
        rank=run.replicas.rank,
    )  # fmt: skip
    run.at = f"iteration {done + 1}"
    for iteration, batch in enumerate(batches, start=done + 1):
        torch.manual_seed(_seed(run, iteration))
        losses = run.engine.step(batch.images, batch.labels)
        divergence.check_step(run, iteration, losses)
        yield Step(iteration, losses, batch.sampler_state)
        run.at = f"iteration {iteration + 1}"


def _seed(run: Run, iteration: int) -> int:
    """Dropout and the like draw from a stream of this iteration (and process): a resumed run draws the same numbers."""
    counter = (iteration,) if run.replicas.root else (iteration, run.replicas.rank)
    return int(determinism.stream(run.seed, "other", *counter).integers(2**63 - 1))


def _start(run: Run) -> int:
    if checkpoints.latest(run.checkpoints) is not None:
        raise RunError(f"{run.out} already holds a run; add --resume to go on with it, or choose another --out")
    for name in _LINES:
        if run.replicas.root:
            (run.out / name).unlink(missing_ok=True)
    if run.replicas.root:
        pictures.write_list(run.out / pictures.LIST, run.data)
        manifest.begin(run.out)
        manifest.seal(run.out, "run.json", pictures.LIST)
    return 0


def _resume(run: Run, say: Callable[[str], None]) -> int:
    """Load the latest sound checkpoint; returns its iteration (0 where there is none yet)."""
    path = None
    if run.replicas.root:
        path = checkpoints.latest_sound(run.checkpoints, say)
    path = run.replicas.from_root(path)
    if path is None:
        say(f"--resume: nothing to go on from; this run begins at its first iteration (no checkpoint in {run.out})")
        return _start(run)
    pictures.check_list(run.out / pictures.LIST, run.data)
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
    for name in _LINES:
        if run.replicas.root:
            run_files.truncate(run.out / name, iteration)
    if run.replicas.root:  # what lies after the checkpoint is sealed no more
        manifest.seal(run.out, *_LINES, f"checkpoints/{path.name}")
    evaluated = run.replicas.from_root({row["iteration"] for row in run_files.read(run.out, "evaluations")})
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
    manifest.seal(run.out, f"checkpoints/{path.name}", "steps.jsonl", "timings.jsonl")


def _evaluate(run: Run, iteration: int, say: Callable[[str], None], losses: dict[str, float] | None = None) -> None:
    run.at = f"the evaluation at iteration {iteration}"
    try:
        rows = evaluation.evaluate_now(run, iteration, say)
    except RowsError as error:
        raise divergence.Diverged(run, iteration, str(error), losses or {}) from error
    for name, row in rows.items() if run.replicas.root else ():
        run_files.append(run.out / f"{name}.jsonl", {"iteration": iteration, **row})
        if name == "evaluations":
            run.mirror(name, {"iteration": iteration, **row})
    if run.replicas.root:
        manifest.seal(run.out, *_LINES)


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
