"""A fast run is the same training with other digits, and says everywhere that it is comparable with nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import replica_steps as steps
from helpers import tiny
from helpers.programs import needs_compiler

from paper_recipes import registry
from paper_recipes.runner import run
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.engines import checkpoint
from paper_recipes.runner.engines.processes import Replicas
from paper_recipes.runner.engines.torch_engine import TorchEngine
from paper_recipes.runner.reports import banner, page
from paper_recipes.runner.run_files import RunError
from ports import determinism


@pytest.fixture(autouse=True)
def strict_again():
    yield
    determinism.configure(0)


@pytest.mark.slow
@needs_compiler
def test_a_compiled_net_takes_the_same_steps():
    """Float32 rounding through two small convolutions: 1e-6 of the loss; a wrong step would change the first digits."""
    determinism.configure(0, strict=False)
    assert torch.backends.cudnn.allow_tf32 and not torch.are_deterministic_algorithms_enabled()
    losses, names = {}, {}
    for fast in (False, True):
        engine = TorchEngine(steps.TORCH["plain"], classes=4, device=steps.CPU, seed=1, fast=fast)
        losses[fast] = []
        for step in range(2):
            images, labels = steps.batch(step)
            losses[fast].append(engine.step(images.float(), labels.float())["loss"])
        engine.begin_embedding()
        embeddings = engine.embed(images.float())["embedding"]
        assert embeddings.shape == (12, 5) and torch.isfinite(embeddings).all()
        names[fast] = list(engine.tensors())
    assert names[True] == names[False]  # a checkpoint of the one loads in the other
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)


def test_no_form_of_a_fast_run_is_full():
    for scale in (scales.full(registry.get("rll-sop")), scales.embedded(registry.get("rll-sop"))):
        fast = replace(scale, fast=True)
        assert fast.label == f"{scale.form}, fast" and scale.label == scale.form
        assert banner.NOT_COMPARABLE in banner.banner(registry.get("rll-sop"), fast, Replicas())
        assert banner.NOT_COMPARABLE not in banner.banner(registry.get("rll-sop"), scale, Replicas())


def test_record_and_report_say_so(tmp_path, monkeypatch):
    """The command line's way, without the training itself."""
    monkeypatch.setattr(run.loop, "train", lambda current, resume, say: finished(current.out))
    monkeypatch.setattr(
        run,
        "make_engine",
        lambda *args, **kwargs: type("Engine", (), {"headline": "concat", "import_report": "219 layers loaded"}),
    )
    monkeypatch.setattr(run, "chain", lambda recipe, record: [{"link": "-", "verdict": "-"}])
    monkeypatch.setattr(run, "make_sampler", lambda *args: None)
    data = tiny.make_data(tmp_path)
    part = {"images": 20, "classes": 5, "fingerprint": "0" * 64}
    data.description.update(train=part, test=part)
    monkeypatch.setattr(run.run_data, "open_embedded", lambda recipe, scale, seed: data)
    assert run.run(registry.get("rll-sop"), run.Options(out=tmp_path / "run", strict=False)) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["form"] == "embedded, fast" and record["comparable"] is False and record["verdict"] is None
    assert record["environment"]["tf32"] is True and record["environment"]["deterministic"] is False
    assert banner.NOT_COMPARABLE in (tmp_path / "run" / "report.md").read_text()
    record["comparable"], record["form"] = True, "embedded"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    page.write(tmp_path / "run", [{"link": "-", "verdict": "-"}])
    assert banner.NOT_COMPARABLE not in (tmp_path / "run" / "report.md").read_text()


def finished(out: Path) -> None:
    metrics = {"concat": {"R@1": 50.0, "R@10": 60.0, "R@100": 70.0}}
    row = {"iteration": 1, "metrics": metrics, "hits": {}, "queries": 20}
    (out / "evaluations.jsonl").write_text(json.dumps(row) + "\n")


def test_a_fast_checkpoint_does_not_become_a_comparable_run(tmp_path):
    """And the other way round: what was joined would be of no kind."""
    data, out = tmp_path / "pictures", tmp_path / "run"
    data.mkdir()
    tiny.start(out, data, iterations=3)
    path = checkpoint.latest(out / "checkpoints")
    saved = checkpoint.load(path)
    saved.state["form"] += ", fast"
    checkpoint.save(path, saved)
    with pytest.raises(RunError, match="its form is 'embedded, fast', this run's is 'embedded'"):
        tiny.start(out, data, iterations=3, resume=True)
