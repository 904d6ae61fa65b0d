"""`--log`: what another program is told is what the run's lines say."""

from __future__ import annotations

import importlib.util
import json

import pytest
from helpers import tiny_run

from paper_recipes.runner import run_files
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.training import mirror

HOOK = """
import json
from pathlib import Path
def log(kind, row): Path(__file__).with_name("told").open("a").write(json.dumps([kind, row]) + "\\n")
"""


def test_a_hook_of_three_lines_is_told_every_line(tmp_path, monkeypatch):
    tiny_run.know(monkeypatch)
    (tmp_path / "mine.py").write_text(HOOK)
    data = tiny_run.make_pictures(tmp_path / "data")
    assert tiny_run.run(tmp_path / "out", data, log=f"{tmp_path}/mine.py:log", report=False) == 0
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    for kind in ("steps", "evaluations"):
        assert [row for of, row in told if of == kind] == run_files.read(tmp_path / "out", kind)
    assert [of for of, _ in told][:3] == ["evaluations", "steps", "evaluations"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["history"][0]["options"]["log"].endswith("mine.py:log")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wandb", "--log wandb: expected tensorboard, or FILE.py:FUNCTION"),
        ("nowhere.py:log", "--log nowhere.py:log: no file nowhere.py"),
        ("json:nothing", "--log json:nothing: json has no 'nothing'"),
    ],
)
def test_what_cannot_be_had_is_one_line(tmp_path, name, words):
    with pytest.raises(RunError) as said:
        mirror.open_mirror(name, tmp_path)
    assert str(said.value).startswith(words) and not list(tmp_path.iterdir())


def test_tensorboard_that_is_not_there_is_one_line(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    with pytest.raises(
        RunError, match=r"^--log tensorboard: tensorboard is not installed: pip install 'dml-ports\[tensorboard\]'$"
    ):
        mirror.check("tensorboard")


def test_scalars_of_rows():
    step = {"iteration": 3, "lr": 0.01, "losses": {"a": 1.5, "b": 2}}
    assert list(mirror.scalars("steps", step)) == [("learning rate", 0.01), ("loss/a", 1.5), ("loss/b", 2.0)]
    row = {"iteration": 3, "metrics": {"fc": {"R@1": 50.0}}, "hits": {}, "queries": 2}
    assert list(mirror.scalars("evaluations", row)) == [("fc/R@1", 50.0)]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard, an optional extra, is not installed"
)
def test_tensorboard_reads_what_the_lines_say(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny_run.know(monkeypatch)
    data = tiny_run.make_pictures(tmp_path / "data")
    assert tiny_run.run(tmp_path / "out", data, log="tensorboard", report=False) == 0
    events = EventAccumulator(str(tmp_path / "out" / mirror.FOLDER)).Reload()
    losses = [(e.step, e.value) for e in events.Scalars("loss/loss")]
    # Event files hold float32.
    assert losses == [
        (r["iteration"], pytest.approx(r["losses"]["loss"], rel=1e-6))
        for r in run_files.read(tmp_path / "out", "steps")
    ]
    recalls = [e.value for e in events.Scalars("fc/R@1")]
    assert recalls == pytest.approx(
        [r["metrics"]["fc"]["R@1"] for r in run_files.read(tmp_path / "out", "evaluations")]
    )
