"""What can befall a run from outside, in one line: the cause, and what to try."""

from __future__ import annotations

import re
from typing import Any

import click
import torch

from paper_recipes.runner import run_files
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.engines import processes
from paper_recipes.runner.training import history
from paper_recipes.runner.training.state import Run

EXIT_CODE = 4
_WORKER = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\) (is killed by signal: \w[\w ]*|exited unexpectedly)"
)


def plain(error: BaseException) -> str:
    """The text of an error as one line, without the number that systems count their errors by."""
    return re.sub(r"^\[Errno -?\d+\] ", "", " ".join(str(error).split()))


def words(error: BaseException) -> str | None:
    """The cause in one line; None: a mistake in the program, whose traceback is wanted."""
    text = plain(error)
    if isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in text:
        asked = re.search(r"Tried to allocate ([\d.]+ \w+)", text)
        return (
            f"out of memory on the GPU{f' ({asked[1]} more were wanted)' if asked else ''}; try a GPU with more, or smaller "
            "batches in a recipe of your own: --set sampler.classes_per_batch=N, for evaluations --set evaluation.batch_size=N"
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "out of memory; try fewer --workers, or end other programs"
    if isinstance(error, RuntimeError):
        if (worker := _WORKER.search(text)) is not None:
            return (
                f"a process that loads pictures (pid {worker[1]}) {worker[2]}: systems kill so when memory runs out; try "
                "fewer --workers"
            )
        return processes.lost(error)
    return text if isinstance(error, (ValueError, OSError)) else None


def end(error: BaseException, run: Run, record: dict[str, Any], command: str) -> int:
    """Say what ended the run, put it into its record and return the exit code; a mistake in the program is raised again.

    command: that goes on with the run.
    """
    stopped = isinstance(error, KeyboardInterrupt)  # a second Ctrl-C, or one before the first step
    said = f"stopped by the user at once, in {run.at}; {_left(run)}" if stopped else line(error, run)
    record["status"] = said
    history.end(record, "stopped" if stopped else "failed", None)
    try:
        run_files.write_record(run.out, record)
    except OSError as second:  # the disk is full or gone: without its lock the run is known to be dead
        click.echo(f"run.json says no more than that the run began: {second}", err=True)
    click.echo(f"{said}; go on with: {command}", err=True)
    if not stopped and words(error) is None:
        raise error
    return 130 if stopped else EXIT_CODE


def line(error: BaseException, run: Run) -> str:
    """The cause, where in the run, and what is left of it. A mistake in the program is named by its kind."""
    cause = words(error) or f"{type(error).__name__}: {plain(error)[:300]}"
    batch = f" (batches of {run.plan.sampler.batch_size})" if isinstance(error, (MemoryError, RuntimeError)) else ""
    return f"failed in {run.at}{batch}: {cause}; {_left(run)}"


def _left(run: Run) -> str:
    return f"last good checkpoint: {checkpoints.latest(run.checkpoints) or 'none'}"
