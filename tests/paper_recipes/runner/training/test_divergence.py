"""A loss, gradient, weight or embedding that is not finite ends a run at that step, in one line, with exit code 3."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers import tiny
from helpers.launching import finish, launch

from paper_recipes.runner import run_files
from paper_recipes.runner.cli import cli
from paper_recipes.runner.engines import checkpoint, gradients
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.reports import leaderboard
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.training.divergence import Diverged


def strict(path: Path) -> list:
    """The lines of a .jsonl file, read as JSON is defined: NaN and Infinity are no numbers of it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path} holds {word}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def at(iteration: int, change, monkeypatch) -> None:
    """Let `change(engine)` happen before the step of `iteration`, and let it see the losses after it."""
    step = CaffeEngine.step

    def changed(self, images, labels):
        if self.solver.iter + 1 == iteration:
            return change(self, lambda: step(self, images, labels))
        return step(self, images, labels)

    monkeypatch.setattr(CaffeEngine, "step", changed)


def diverged(out: Path, data: Path, **options) -> Diverged:
    with pytest.raises(Diverged) as stop:
        tiny.start(out, data, **options)
    for path in out.glob("*.jsonl"):
        strict(path)
    return stop.value


def numbers(out: Path) -> list[int]:
    return [row["iteration"] for row in strict(out / "steps.jsonl")]


def test_a_weight_that_makes_the_loss_nan(data, tmp_path, monkeypatch, recwarn) -> None:
    def spoil(engine, step):
        with torch.no_grad():
            engine.solver.net.params["fc"][0][0] = torch.nan
        return step()

    at(8, spoil, monkeypatch)
    stop = diverged(tmp_path, data)
    good = checkpoint.path_of(tmp_path / "checkpoints", 6)
    assert stop.iteration == 8 and stop.checkpoint == good
    assert str(stop) == (
        f"diverged at iteration 8: loss not finite; loss nan, learning rate 0.005; last good checkpoint: {good}"
    )
    assert numbers(tmp_path) == list(range(1, 8))
    assert checkpoint.latest(tmp_path / "checkpoints") == good
    record = json.loads(json.dumps(stop.as_json(), allow_nan=False))
    assert not [w for w in recwarn if "NaN" in str(w.message)]  # the line says it
    assert record["losses"] == {"loss": "nan"} and record["last_good_checkpoint"] == good.name

    monkeypatch.undo()  # the last good checkpoint is good: the run goes on from it
    tiny.start(tmp_path, data, resume=True)
    assert numbers(tmp_path) == list(range(1, tiny.ITERATIONS + 1))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_alone(data, tmp_path, monkeypatch, value) -> None:
    """The loss of that step is finite: without a look at the gradient the run would end one step later."""
    real = gradients.norm

    def norm(parameters):
        parameters = list(parameters)
        norm.calls += 1
        if norm.calls == 2:
            gradient = next(p.grad for p in parameters if p.grad is not None)
            gradient[(0,) * gradient.ndim] = value
        return real(parameters)

    norm.calls = 0
    monkeypatch.setattr(gradients, "norm", norm)
    stop = diverged(tmp_path, data)
    assert stop.iteration == 2 and math.isfinite(stop.losses["loss"])
    assert f"diverged at iteration 2: gradient norm {value} not finite; loss 0." in str(stop)
    assert str(stop).endswith("learning rate 0.01; last good checkpoint: none")
    assert numbers(tmp_path) == [1]


def test_the_norm_is_that_of_all_gradients(data, tmp_path) -> None:
    run = tiny.start(tmp_path, data, iterations=2)
    parameters = [p for group in run.engine.solver.optimizer.param_groups for p in group["params"]]
    plain = math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters if p.grad is not None))
    assert plain > 0 and run.engine.gradient_norm == pytest.approx(plain, rel=1e-6)  # float32 sums
    assert float(gradients.norm([torch.zeros(3)])) == 0  # nobody has a gradient


def test_a_weight_is_seen_before_it_is_written(data, tmp_path, monkeypatch) -> None:
    """An update that overflows: loss and gradient of the step are finite, the checkpoint would not be."""

    def spoil(engine, step):
        losses = step()
        with torch.no_grad():
            engine.solver.net.params["fc"][0][0, 0] = torch.inf
        return losses

    at(6, spoil, monkeypatch)
    stop = diverged(tmp_path, data)
    assert stop.iteration == 6 and stop.what.endswith("weights and statistics not finite, blob/fc/0 first")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["iteration_000003.safetensors"]
    assert stop.checkpoint is not None and stop.checkpoint.name == "iteration_000003.safetensors"


@pytest.mark.parametrize("iteration", [0, 6])
def test_embeddings(data, tmp_path, monkeypatch, iteration) -> None:
    """The checkpoint of the same iteration is there, with finite weights, and is not called good."""
    embed = CaffeEngine.embed

    def spoiled(self, images):
        values = embed(self, images)
        return {name: v * (math.nan if self.solver.iter == iteration else 1) for name, v in values.items()}

    monkeypatch.setattr(CaffeEngine, "embed", spoiled)
    stop = diverged(tmp_path, data)
    assert stop.iteration == iteration
    assert "embeddings: 20 of 20 rows are not finite" in stop.what and "the first is row 0" in stop.what
    if iteration:
        assert "; loss 0." in str(stop) and stop.checkpoint.name == "iteration_000003.safetensors"
    else:
        assert "no step yet" in str(stop) and stop.checkpoint is None


def test_lines_of_a_run_are_strict_json(tmp_path) -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(RunError, match="iteration 7 holds a number that is not finite"):
            run_files.append(tmp_path / "steps.jsonl", {"iteration": 7, "losses": {"loss": value}})
    assert not (tmp_path / "steps.jsonl").exists() or not strict(tmp_path / "steps.jsonl")


@pytest.mark.slow
def test_all_processes_end(data, tmp_path) -> None:
    """Only one process's part of the batch is bad; a process that went on alone would wait for the others for an hour."""
    script = tmp_path / "bad.py"
    script.write_text(f"""
import sys
from pathlib import Path
import torch
from helpers import tiny
from paper_recipes.runner.engines.processes import joined
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.training.divergence import Diverged
step = CaffeEngine.step
def bad(self, images, labels):
    if self.replicas.rank == 1 and self.solver.iter == 1:
        images = images * torch.nan
    return step(self, images, labels)
CaffeEngine.step = bad
with joined("caffe", device=torch.device("cpu")) as processes:
    try:
        tiny.start(Path({str(tmp_path / "out")!r}), Path({str(data)!r}), processes=processes)
    except Diverged as stop:
        print(stop.iteration)
        sys.exit(3)
""")
    ends = finish(launch(script))
    assert [(code, said.strip()) for code, said, _ in ends] == [(3, "2"), (3, "2")], ends


@pytest.mark.slow
def test_the_command(tmp_path) -> None:
    """A learning rate of 1e6: this run once ended with "R@1 100.0" and exit code 0."""
    words = "run ms-cub --smoke --iterations 5 --threads 1 --set images.crop=64 --set torch.phases.1.lr=1e6"
    ended = CliRunner().invoke(cli, [*words.split(), "--out", str(tmp_path)])
    assert ended.exit_code == 3, ended.output
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "diverged at iteration 1" and "verdict" not in record
    lines = [line for line in ended.stderr.splitlines() if line.startswith("diverged")]
    assert lines == [record["diverged"]["line"]]
    assert "learning rate 1e+06; last good checkpoint: none" in lines[0]
    for path in tmp_path.glob("*.jsonl"):
        assert strict(path)
    page = (tmp_path / "report.md").read_text()
    assert "Status: **diverged at iteration 1**" in page and lines[0] in page
    (entry,) = leaderboard.entries(tmp_path)
    assert entry.verdict is None
