"""A full run from its start to its verdict: exit code, record, report and leaderboard speak with one voice, and it verifies.

The tiny recipe on data that pass for the official ones, from weights whose sha256 nobody has published, as the Caffe recipes.
"""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from helpers import tiny

from paper_recipes import registry
from paper_recipes.recipe import expect
from paper_recipes.runner import run as runner
from paper_recipes.runner import verify
from paper_recipes.runner.data import run_data
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.reports import leaderboard
from paper_recipes.runner.verification.statement import first_false


@pytest.fixture
def full(tmp_path, monkeypatch):
    """Start the run, held to an R@1 so many points above its own; returns (exit code, folder)."""
    monkeypatch.setenv("DML_PORTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        runner, "chain", lambda recipe, record: [weights_link.row(recipe, record["weights"], of_run=True).as_cells()]
    )
    base = tiny.recipe()
    (tmp_path / "data").mkdir()
    data = tiny.make_data(tmp_path / "data")
    official = dataclasses.replace(data, description={**data.description, "name": base.dataset})
    monkeypatch.setattr(run_data, "open_folder", lambda recipe, root, image_root: official)
    weights = tmp_path / "googlenet_bn.caffemodel"
    CaffeEngine(base.the_caffe(), device=torch.device("cpu"), seed=5).solver.net.save_caffemodel(weights)

    def start(name: str, value: float):
        recipe = dataclasses.replace(
            base,
            iterations=2,
            snapshot_every=1,
            sampler=dataclasses.replace(base.sampler, classes_per_batch=2, images_per_class=3),
            evaluation=dataclasses.replace(base.evaluation, iterations=(1, 2)),
            expected=expect("fc", {"R@1": value}, 0.5, "by hand"),
        )
        monkeypatch.setitem(registry.RECIPES, "tiny", recipe)
        monkeypatch.setattr(leaderboard.lock, "read", lambda: {"tiny": recipe.fingerprint()})
        out = tmp_path / "runs" / name
        options = runner.Options(data=tmp_path / "data", weights=weights, out=out, workers=0, device="cpu")
        return runner.run(recipe, options), out

    return start


@pytest.mark.slow
def test_the_three_verdicts(full, capsys):
    _, out = full("first", 0.0)
    best = max(row["metrics"]["fc"]["R@1"] for row in map(json.loads, (out / "evaluations.jsonl").open()))
    assert best > 1
    for name, value, word, code in (
        ("within", best, "reproduced", 0),
        ("above", best - 1, "higher than published", 1),
        ("below", best + 1, "not reproduced", 1),
    ):
        capsys.readouterr()
        ended, out = full(name, value)
        assert ended == code, name
        sentence = word + (": check split, weights and protocol" if name == "above" else "")
        assert sentence in capsys.readouterr().out
        assert json.loads((out / "run.json").read_text())["verdict"] == word
        report = (out / "report.md").read_text()
        assert f"**{sentence}**" in report
        assert "no sha256 to compare with |" in report and "bring" not in report, (
            "the chain is about this run's weights"
        )
        (entry,) = leaderboard.entries(out)
        assert entry.verdict is not None and entry.verdict.word == word and entry.reason == ""
        statements = verify.verify(verify.Options(out, workers=0, segments=2))
        assert first_false(statements) is None, statements
