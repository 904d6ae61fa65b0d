"""Honest runs hold: whole, on another machine, without the data, stopped, killed or diverged as far as they came."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import tiny_run
from helpers.verifying import check, edit, named, seal_again

from paper_recipes import registry
from paper_recipes.runner.cli import cli
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.verification.statement import FALSE, HOLDS, OPEN, first_false


def test_an_honest_run_holds_in_every_statement(run):
    statements = check(run, segments=100)
    assert {statement.verdict for statement in statements} == {HOLDS}, [s for s in statements if s.verdict != HOLDS]
    names = [statement.name for statement in statements]
    assert names[:8] == [
        *("recipe", "steps", "learning rate", "evaluations", "result and verdict", "checkpoints", "manifest"),
        "stored embeddings",
    ]
    assert names[8:13] == ["data", "weights", "checkpoint contents", "evaluation 6", "raw pixels"]
    assert names[13:] == [f"stretch {i} to {i + 1}" for i in range(6)]


def test_the_run_is_not_touched(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    check(run, segments=2)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_another_machine_is_held_to_tolerances(run):
    record = json.loads((run / "run.json").read_text())
    record["environment"]["processor"] = "another"
    (run / "run.json").write_text(json.dumps(record))
    seal_again(run)
    path = run / "embeddings" / "query_fc.npy"
    np.save(path, np.load(path) * np.float32(1 + 1e-5))  # what rounding would do
    seal_again(run)
    statements = check(run, segments=2)
    assert first_false(statements) is None
    words = next(statement.words for statement in statements if statement.name == "evaluation 6")
    assert words.endswith("within tolerances (another processor)")
    np.save(path, np.load(path) * np.float32(1.01))
    seal_again(run)
    assert named(run).startswith("evaluation 6: embeddings/query_fc.npy")


def test_data_that_is_not_here_is_not_checked(honest, run, tmp_path):
    record = json.loads((run / "run.json").read_text())
    record["history"][0]["options"]["data"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(record))
    seal_again(run)
    statements = {statement.name: statement for statement in check(run)}
    assert statements["data"].verdict == OPEN and "give the data's folder with --data" in statements["data"].words
    assert named(run, data=honest / "data", segments=1) is None


def test_command_line(run, honest):
    good = CliRunner().invoke(cli, ["verify", str(run), "--quick"])
    assert good.exit_code == 0 and "8 statements hold" in good.output
    edit(run / "steps.jsonl", 3, lambda row: None)
    bad = CliRunner().invoke(cli, ["verify", str(run), "--quick"])
    assert bad.exit_code == 1 and "first false statement: steps: steps.jsonl: line 3 is of iteration 4" in bad.output
    as_json = CliRunner().invoke(cli, ["verify", str(run), "--quick", "--json"])
    found = json.loads(as_json.output)
    assert as_json.exit_code == 1 and found["first_false"]["statement"] == "steps" and not found["holds"]
    assert [row["verdict"] for row in found["statements"]].count(FALSE) >= 2


def at(iteration: int, change, monkeypatch) -> None:
    """Let `change(engine)` happen before the step of `iteration`, once."""
    step, done = CaffeEngine.step, []

    def changed(self, images, labels):
        if self.solver.iter + 1 == iteration and not done:
            done.append(change(self))
        return step(self, images, labels)

    monkeypatch.setattr(CaffeEngine, "step", changed)


@pytest.mark.slow  # two runs of its own
def test_a_run_that_was_stopped_and_resumed_holds(honest, tmp_path, monkeypatch):
    at(4, lambda engine: os.kill(os.getpid(), signal.SIGINT), monkeypatch)
    out = tmp_path / "run"
    assert tiny_run.run(out, honest / "data") == 130
    assert named(out) is None, "as far as it came"
    assert {s.name: s.verdict for s in check(out, quick=True)}["result and verdict"] == OPEN
    assert tiny_run.run(out, honest / "data", resume=True) == 0
    statements = check(out, segments=100)
    assert {statement.verdict for statement in statements} == {HOLDS}, [s for s in statements if s.verdict != HOLDS]
    record = json.loads((out / "run.json").read_text())
    assert [event["event"] for event in record["history"]] == ["start", "stopped", "resume", "finished"]


@pytest.mark.slow  # a run of its own
def test_a_run_of_several_epochs_of_a_sampler_that_counts_them(honest, tmp_path, monkeypatch):
    recipe = registry.get("tiny")
    sampler = dataclasses.replace(recipe.sampler, rule="FastRandomIdentity", classes_per_batch=2, options={})
    recipe = dataclasses.replace(recipe, sampler=sampler)
    monkeypatch.setitem(registry.RECIPES, "tiny", recipe)
    out = tmp_path / "run"
    assert tiny_run.run(out, honest / "data", recipe=recipe) == 0, "six steps, three an epoch"
    assert named(out, segments=3) is None


def test_a_run_that_diverged_holds_as_far_as_it_came(honest, tmp_path, monkeypatch):
    def spoil(engine):
        with torch.no_grad():
            engine.solver.net.params["fc"][0][0] = torch.nan

    at(4, spoil, monkeypatch)
    out = tmp_path / "run"
    assert tiny_run.run(out, honest / "data") == 3
    assert json.loads((out / "run.json").read_text())["status"] == "diverged at iteration 4"
    assert named(out, segments=3) is None
    edit(out / "steps.jsonl", 2, lambda row: None)
    assert named(out, quick=True).startswith("steps: steps.jsonl: line 2 is of iteration 3")


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"not a run directory: there is no run\.json"):
        check(tmp_path)


def test_a_killed_run_holds_as_far_as_it_came(run):
    """Nothing is sealed after the last checkpoint, and the record still says that it is running."""
    record = json.loads((run / "run.json").read_text())
    record["status"] = "running"
    (run / "run.json").write_text(json.dumps(record))
    for name, keep in (("steps.jsonl", 4), ("evaluations.jsonl", 4)):
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:keep]))
    for iteration in (4, 5, 6):
        (run / "checkpoints" / f"iteration_{iteration:06d}.safetensors").unlink()
    shutil.rmtree(run / "embeddings")
    seal_again(run)
    with open(run / "steps.jsonl", "a") as file:
        file.write(json.dumps({"iteration": 5, "lr": 0.005, "losses": {"loss": 0.25}}) + "\n")
        file.write('{"iteration": 6, "lr"')  # killed while it wrote
    statements = {statement.name: statement for statement in check(run, quick=True)}
    assert statements["steps"].verdict == statements["manifest"].verdict == HOLDS
    assert statements["result and verdict"].verdict == OPEN
