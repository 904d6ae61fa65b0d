"""Every start, stop and resume stands in the record; a resume that would join two different runs is refused."""

from __future__ import annotations

import json

import pytest
from helpers import tiny

from paper_recipes import registry
from paper_recipes.runner import run
from paper_recipes.runner.evidence.row import unverified
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.training import history
from paper_recipes.runner.training.state import Interrupted


@pytest.fixture
def start(tmp_path, monkeypatch):
    """The command line's way without network and steps: each call leaves a checkpoint, at iteration 2 when `stop`."""
    data = tiny.make_data(tmp_path)
    part = {"images": 20, "classes": 5, "fingerprint": "0" * 64}
    data.description.update(train=part, test=part)
    out = tmp_path / "run"
    monkeypatch.setattr(
        run,
        "make_engine",
        lambda *args, **kwargs: type("Engine", (), {"headline": "concat", "import_report": "219 layers loaded"}),
    )
    monkeypatch.setattr(run, "chain", lambda recipe, record: [unverified("all", "-", "left out").as_cells()])
    monkeypatch.setattr(run, "make_sampler", lambda *args: None)
    monkeypatch.setattr(run.run_data, "open_embedded", lambda recipe, scale, seed: data)

    def call(*, stop: bool = False, **options):
        def train(current, resume, say):
            reached = 2 if stop else current.plan.iterations
            current.checkpoints.mkdir(exist_ok=True)
            (current.checkpoints / f"iteration_{reached:06d}.safetensors").write_bytes(b"")
            if stop:
                raise Interrupted(2)
            metrics = {"concat": {"R@1": 50.0, "R@10": 60.0, "R@100": 70.0}}
            row = {"iteration": reached, "metrics": metrics, "hits": {}, "queries": 20}
            (current.out / "evaluations.jsonl").write_text(json.dumps(row) + "\n")

        monkeypatch.setattr(run.loop, "train", train)
        options = {"iterations": 4, "threads": 1, "device": "cpu", **options}
        return run.run(registry.get("rll-sop"), run.Options(out=out, **options))

    call.out = out
    return call


def record_of(start) -> dict:
    return json.loads((start.out / "run.json").read_text())


def test_starts_stops_and_resumes_with_their_options(start):
    assert start(stop=True) == 130
    begun = record_of(start)["started"]
    assert start(resume=True, workers=1) == 0
    record = record_of(start)
    assert [(e["event"], e["iteration"]) for e in record["history"]] == [
        ("start", 0),
        ("stopped", 2),
        ("resume", 2),
        ("finished", 4),
    ]
    first, _, second, _ = record["history"]
    assert first["options"] == {"out": str(start.out), "iterations": 4, "threads": 1, "device": "cpu"}
    assert second["options"]["resume"] is True and second["options"]["workers"] == 1
    assert second["source_sha256"] == record["source_sha256"] and second["project_version"]
    assert record["started"] == begun and record["status"] == "finished"
    assert "resume at iteration 2" in (start.out / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"iterations": 6},
            "begun with iterations 4, this is 6: they stretch the schedule, so that it would be neither",
        ),
        ({"seed": 7}, "begun with seed 123, this is 7"),
        ({"threads": 2}, "begun with threads 1, this is 2: sums are divided among threads"),
        ({"smoke": True}, "begun with batch 18 = 6 classes x 3 images, this is 6 = 3 classes x 2 images"),
        ({"strict": False}, "begun with form letters, this is letters, fast"),
    ],
)
def test_a_resume_that_would_change_the_result_is_refused(start, options, words):
    start(stop=True)
    before = (start.out / "run.json").read_bytes()
    with pytest.raises(RunError) as error:
        start(resume=True, **options)
    assert words in str(error.value) and "or begin a run in another --out" in str(error.value)
    assert (start.out / "run.json").read_bytes() == before  # a refused call writes nothing


def test_a_second_run_in_the_same_folder_leaves_the_firsts_record(start):
    start(stop=True)
    before = (start.out / "run.json").read_bytes()
    with pytest.raises(RunError, match="already holds a run; add --resume"):
        start()
    assert (start.out / "run.json").read_bytes() == before


def test_another_kind_of_device_and_other_weights(tmp_path):
    record = {"recipe": "x", "form": "full", "seed": 1, "device": "cuda:0", "environment": {"gpu": "A", "threads": 4}}
    record["weights"] = {"sha256": "a"}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "iteration_000002.safetensors").write_bytes(b"")
    (tmp_path / "run.json").write_text(json.dumps(record))

    def refusal(**changes):
        return history.refusal(tmp_path, {**record, **changes}, resume=True)

    assert refusal() is None and refusal(device="cuda:1") is None
    assert refusal(environment={"gpu": "A", "threads": 8}) is None  # threads are the CPU's
    assert "begun with device cuda (A), this is cuda (B)" in refusal(environment={"gpu": "B"})
    assert "begun with device cuda (A), this is cpu" in refusal(device="cpu")
    assert "begun with weights a, this is b" in refusal(weights={"sha256": "b"})


def test_resumed_by_other_sources_is_said(start, capsys):
    start(stop=True)
    record = record_of(start)
    record["source_sha256"] = "f" * 64
    (start.out / "run.json").write_text(json.dumps(record))
    start(resume=True)
    assert "resumed by other sources than the run was started by (ffffffffffff then" in capsys.readouterr().out


def test_a_torn_record_is_one_line(start):
    start(stop=True)
    (start.out / "run.json").write_text('{"recipe": "rll')
    with pytest.raises(RunError, match=r"run\.json: not a run record"):
        start(resume=True)


def test_without_cudnn(start, monkeypatch):
    """OSM+CAA was trained without it; any run can be, and the command that resumes says so."""
    switched = []
    configure = run.determinism.configure
    monkeypatch.setattr(
        run.determinism,
        "configure",
        lambda *args, cudnn, **options: (switched.append(cudnn), configure(*args, **options)),
    )
    start(stop=True)
    start(resume=True, cudnn=False)
    assert switched == [True, False]
    assert [recipe.name for recipe in registry.RECIPES.values() if not recipe.cudnn] == [
        name for name in registry.RECIPES if name.startswith("osm-")
    ]
    assert "cudnn" not in registry.get("osm-cub").canonical()
    options = run.Options(cudnn=False, report=False)
    assert " --no-cudnn --no-report --resume" in run.again(
        registry.get("ms-cub"), options, run.process_group.Replicas(), start.out
    )
