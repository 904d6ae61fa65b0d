"""A run is a function of recipe, data and seed: twice, with workers, killed and resumed, it is the same to the bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers import tiny
from helpers.paths import environment

from paper_recipes.runner import run_files
from paper_recipes.runner.engines import checkpoint
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.training.state import Interrupted

SCRIPT = Path(tiny.__file__)


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("reference")
    tiny.start(out, data)
    return out


def same(a: Path, b: Path) -> None:
    """Checkpoints, steps and evaluations are equal, byte for byte."""
    names = sorted(p.name for p in (a / "checkpoints").iterdir())
    assert names == sorted(p.name for p in (b / "checkpoints").iterdir())
    for name in names:
        assert (a / "checkpoints" / name).read_bytes() == (b / "checkpoints" / name).read_bytes(), name
    for name in ("steps.jsonl", "evaluations.jsonl"):
        assert (a / name).read_text() == (b / name).read_text()


def test_twice_is_the_same(reference_run, data, tmp_path):
    tiny.start(tmp_path, data)
    same(reference_run, tmp_path)


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_matter(reference_run, data, tmp_path, workers):
    tiny.start(tmp_path, data, workers=workers)
    same(reference_run, tmp_path)


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 5, pytest.param(9, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_the_same(reference_run, data, tmp_path, stop):
    """SIGKILL after step `stop`, wherever the process is then; resumed from the last whole checkpoint."""
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(data)], stderr=subprocess.DEVNULL, env=environment()
    )
    deadline = time.time() + 240
    while len(run_files.read(out, "steps")) < stop and process.poll() is None and time.time() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    tiny.start(out, data, resume=True)
    same(reference_run, out)


def test_killed_while_writing_a_checkpoint(reference_run, data, tmp_path):
    """SIGKILL with half of the third checkpoint written: resume takes the second one, and sweeps the rest away."""
    code = f"""
import os, signal
from pathlib import Path
import safetensors.torch
from helpers import tiny
real, calls = safetensors.torch.save_file, []
def third_is_cut(tensors, path, metadata):
    calls.append(path)
    real(tensors, path, metadata=metadata)
    if len(calls) == 3:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
safetensors.torch.save_file = third_is_cut
tiny.start(Path({str(tmp_path)!r}), Path({str(data)!r}))
"""
    ended = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, timeout=240, env=environment())
    assert ended.returncode == -signal.SIGKILL
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert sorted(names)[1:] == ["iteration_000003.safetensors", "iteration_000006.safetensors"]
    assert sorted(names)[0].startswith(".iteration_000009.safetensors.")
    tiny.start(tmp_path, data, resume=True)
    same(reference_run, tmp_path)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(reference_run, data, tmp_path):
    """A flipped bit in a weight: said in one line, and the resumed run ends with the same bits."""
    for name in ("steps.jsonl", "evaluations.jsonl", "timings.jsonl"):
        shutil.copy(reference_run / name, tmp_path / name)
    shutil.copytree(reference_run / "checkpoints", tmp_path / "checkpoints")
    newest = checkpoint.latest(tmp_path / "checkpoints")
    damaged = bytearray(newest.read_bytes())
    damaged[-5] ^= 1
    newest.write_bytes(damaged)
    said = []
    tiny.start(tmp_path, data, resume=True, say=said.append)
    assert said[0].startswith(f"{newest}: damaged") and said[0].endswith("going on from iteration_000009.safetensors")
    (tmp_path / "checkpoints" / f"damaged_{newest.name}").unlink()
    same(reference_run, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_usable_checkpoint(reference_run, data, tmp_path, monkeypatch, number):
    real = run_files.append

    def press_at_five(path, row):
        real(path, row)
        if path.name == "steps.jsonl" and row["iteration"] == 5:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(run_files, "append", press_at_five)
    with pytest.raises(Interrupted) as stopped:
        tiny.start(tmp_path, data)
    assert stopped.value.iteration == 5
    assert checkpoint.load(checkpoint.latest(tmp_path / "checkpoints")).state["iteration"] == 5
    monkeypatch.setattr(run_files, "append", real)
    tiny.start(tmp_path, data, resume=True)
    (tmp_path / "checkpoints" / "iteration_000005.safetensors").unlink()  # the extra one of the interruption
    same(reference_run, tmp_path)


def test_a_finished_run_is_not_overwritten(reference_run, data):
    with pytest.raises(RunError, match="already holds a run; add --resume"):
        tiny.start(reference_run, data)


def test_a_checkpoint_of_another_recipe_is_refused(reference_run, data, tmp_path):
    path = checkpoint.latest(reference_run / "checkpoints")
    saved = checkpoint.load(path)
    saved.state["fingerprint"] = "0" * 64
    checkpoint.save(tmp_path / "checkpoints" / path.name, saved)
    with pytest.raises(RunError, match="its fingerprint is '0000"):
        tiny.start(tmp_path, data, resume=True)


def test_learning_rate_steps_and_the_state_is_complete(reference_run):
    steps = run_files.read(reference_run, "steps")
    assert [row["iteration"] for row in steps] == list(range(1, tiny.ITERATIONS + 1))
    # stepvalue s acts from the (s+1)-th update on
    assert [row["lr"] for row in steps] == pytest.approx([0.01] * 4 + [0.005] * 4 + [0.0025] * 4, rel=1e-6)
    last = checkpoint.load(checkpoint.latest(reference_run / "checkpoints"))
    assert int(last.tensors["current_step"]) == 2 and last.state["sampler"]["taken"] > 0
    assert any(name.startswith("history/") and tensor.any() for name, tensor in last.tensors.items())


def test_the_untrained_evaluation_does_not_touch_training(reference_run, data, tmp_path):
    """Statistics for the untrained test net come from forward passes; the training net starts empty all the same."""
    first = checkpoint.load(checkpoint.path_of(reference_run / "checkpoints", 3))
    # after 3 updates of 0.999 * x + 1, decayed a little by the solver as the fork does
    assert float(first.tensors["blob/conv1/bn/2"]) == pytest.approx(1 + 0.999 + 0.999**2, rel=1e-4)


def test_a_mutation_is_noticed(reference_run, data, tmp_path):
    """Another seed for one stream alone changes the run."""
    from ports import determinism

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(determinism._PURPOSES, "augmentation", 99)
        tiny.start(tmp_path, data)
    with pytest.raises(AssertionError):
        same(reference_run, tmp_path)


def test_evaluation_rows_hold_exact_counts(reference_run):
    for row in run_files.read(reference_run, "evaluations"):
        for name, hits in row["hits"].items():
            for k, count in hits.items():
                assert row["metrics"][name][k] == pytest.approx(100 * count / row["queries"], abs=1e-12)
    assert json.loads((reference_run / "raw_pixels.json").read_text())["queries"] == 20
    assert torch.get_num_threads() >= 1
