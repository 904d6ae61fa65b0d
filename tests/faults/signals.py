"""Signals: to the run, to the group that it belongs to, to a process that loads its pictures."""

from __future__ import annotations

import os
import signal
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
from safetensors import torch as torch_files

from paper_recipes.runner import run as runner
from paper_recipes.runner.engines import checkpoint
from paper_recipes.runner.training import evaluation
from tests.faults.stage import Fault, Outcome, Stage, at_step


def _send(number: int, times: int = 1) -> Any:
    return lambda: [os.kill(os.getpid(), number) for _ in range(times)]


def _in_step(stage: Stage, number: int) -> Outcome:
    out = stage.new()
    return stage.outcome(stage.run(out, befalls=at_step(4, _send(number))), out)


def _while_starting(stage: Stage) -> Outcome:
    out = stage.new()

    def befalls(patch: pytest.MonkeyPatch) -> None:
        make = runner.make_engine
        patch.setattr(runner, "make_engine", lambda *a, **k: (os.kill(os.getpid(), signal.SIGTERM), make(*a, **k))[1])

    ended = stage.run(out, befalls=befalls)
    return stage.outcome(ended, out, resume=False)


def _twice(stage: Stage) -> Outcome:
    """The first in a step, the second in the evaluation that comes after it."""
    out = stage.new()

    def befalls(patch: pytest.MonkeyPatch) -> None:
        real = evaluation.evaluate_now

        def pressed(run: Any, iteration: int, say: Any) -> Any:
            if iteration == 4:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return real(run, iteration, say)

        patch.setattr(evaluation, "evaluate_now", pressed)

    return stage.outcome(stage.run(out, befalls=befalls), out)


def _in_checkpoint(act: Any) -> Any:
    def befalls(patch: pytest.MonkeyPatch) -> None:
        real = torch_files.save_file

        def half(tensors: Any, path: str, metadata: Any) -> None:
            real(tensors, path, metadata=metadata)
            if int(checkpoint.state_of(Path(path))["iteration"]) == 4:
                os.truncate(path, os.path.getsize(path) // 2)
                act()

        patch.setattr(torch_files, "save_file", half)

    return befalls


def _half_a_checkpoint(stage: Stage, number: int, times: int) -> Outcome:
    out = stage.new()
    return stage.outcome(stage.run(out, befalls=_in_checkpoint(_send(number, times))), out)


def _a_worker(stage: Stage) -> Outcome:
    out = stage.new()
    kill = at_step(4, lambda: [os.kill(child.pid or 0, signal.SIGKILL) for child in active_children()])
    return stage.outcome(stage.run(out, "--workers", "2", befalls=kill), out)


def _the_group(stage: Stage) -> Outcome:
    """As job systems end a job: all its processes at once."""
    out = stage.new()
    end = at_step(4, lambda: os.killpg(0, signal.SIGTERM))
    return stage.outcome(stage.run(out, "--workers", "2", befalls=end), out)


FAULTS = [
    Fault("SIGTERM while starting", _while_starting, 130, "^stopped$", "^$", None),
    Fault("SIGTERM in a step", lambda s: _in_step(s, signal.SIGTERM), 130, "^stopped; go on with: ", "at iteration 4$"),
    Fault("Ctrl-C in a step", lambda s: _in_step(s, signal.SIGINT), 130, "^stopped; go on with: ", "at iteration 4$"),
    Fault(
        "Ctrl-C twice in an evaluation",
        _twice,
        130,
        r"last good checkpoint: .*iteration_000004\.safetensors; go on with: ",
        "^stopped by the user at once, in the evaluation at iteration 4; ",
    ),
    Fault(
        "Ctrl-C twice while a checkpoint is written",
        lambda s: _half_a_checkpoint(s, signal.SIGINT, 2),
        130,
        r"last good checkpoint: .*iteration_000003\.safetensors; go on with: ",
        "^stopped by the user at once, in the checkpoint of iteration 4; ",
    ),
    Fault("SIGKILL in a step", lambda s: _in_step(s, signal.SIGKILL), -9, "", "^ended without a word: "),
    Fault(
        "SIGKILL while a checkpoint is written",
        lambda s: _half_a_checkpoint(s, signal.SIGKILL, 1),
        -9,
        "",
        "^ended without a word: ",
    ),
    Fault(
        "SIGKILL of the processes that load pictures",
        _a_worker,
        4,
        r"^failed in .*: a process that loads pictures \(pid N\) (is killed|exited).*memory.*last good checkpoint: ",
        r"^failed in ",
    ),
    Fault("SIGTERM to the run and its loaders at once", _the_group, 130, "^stopped", "^stopped by the user"),
]
