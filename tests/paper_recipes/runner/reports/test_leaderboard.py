"""The leaderboard counts what a full, unchanged, whole run's own numbers say; every other record stands apart with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import full_run
from helpers.full_run import evaluation, evaluations, weights

from paper_recipes import registry
from paper_recipes.runner.cli import cli
from paper_recipes.runner.reports import leaderboard


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DML_PORTS_CACHE", str(tmp_path_factory.mktemp("cache")))


def only(root: Path) -> leaderboard.Entry:
    (entry,) = leaderboard.entries(root)
    return entry


def test_a_run_of_the_published_values_counts(tmp_path):
    full_run.write(tmp_path / "a", verdict="reproduced")
    entry = only(tmp_path)
    assert entry.verdict.passed and entry.reason == "" and entry.best == "concat R@1 79.80"


def test_a_run_below_them_counts_as_not_reproduced(tmp_path):
    full_run.write(tmp_path / "a", rows=evaluations(registry.get("rll-sop"), -2.0))
    entry = only(tmp_path)
    assert entry.verdict is not None and not entry.verdict.passed


def test_a_run_above_them_has_a_word_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    full_run.write(tmp_path / "a", rows=evaluations(registry.get("rll-sop"), +2.0))
    entry = only(tmp_path)
    assert entry.verdict.word == "higher than published" and not entry.verdict.passed
    said = CliRunner().invoke(cli, ["leaderboard", "--runs", str(tmp_path)]).output
    assert "higher than published: 0 of 12 values" in said
    assert f"0 of {len(registry.RECIPES)} recipes reproduced by training" in said
    assert "Higher than published: 1, check split, weights and protocol." in said


def test_weights_count_by_their_sha256(tmp_path):
    recipe = registry.get("ms-cub")
    rows = evaluations(recipe)
    full_run.write(tmp_path / "a", "ms-cub", rows=rows)
    full_run.write(tmp_path / "b", "ms-cub", rows=rows, weights=weights(recipe, "f" * 64))
    full_run.write(tmp_path / "c", "ms-cub", rows=rows, weights=None)
    other = {**weights(registry.get("rll-sop")), "own_images": "R,G,B"}
    full_run.write(tmp_path / "d", weights=other)
    full_run.write(tmp_path / "e")
    a, b, c, d, e = leaderboard.entries(tmp_path)
    assert a.verdict.passed and a.weights == "verified by sha256"
    assert b.verdict is None and b.reason.startswith(
        "not comparable: weights: bn_inception-52deb4733.pth (sha256 ffffffffffffffff...) is not the recipe's file"
    )
    assert c.verdict is None and "names no weights" in c.reason
    assert d.verdict is None and "belongs to other images than the recipe's (R,G,B; here B,G,R)" in d.reason
    assert e.verdict.passed and e.weights == "no sha256 to compare with"


def test_the_best_checkpoint_counts_as_in_the_run_itself(tmp_path):
    recipe = registry.get("rll-sop")
    rows = [evaluation(recipe, i, 0.0 if i == 16000 else -1.0) for i in range(10000, 20001, 2000)]
    full_run.write(tmp_path / "a", rows=rows)
    assert only(tmp_path).verdict.iteration == 16000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"form": "embedded"}, "letters form"),
        ({"form": "own"}, "own pictures"),
        (
            {"replicas": {"semantics": "caffe", "processes": 4, "sync_bn": False}},
            "trained by 4 processes (--replicas caffe), the recipe by one",
        ),
        ({"comparable": False, "form": "full, fast"}, "run with --fast: not comparable"),
        ({"fingerprint": "0" * 64}, "made with another version of the recipe"),
        ({"data": {"name": "cub"}}, "on cub, the recipe is of sop"),
        ({"status": "running"}, "not finished: ended without a word: its process was killed"),
        ({"rows": []}, "no evaluation"),
        (
            {"verdict": "not reproduced"},
            "does not hold: result and verdict: run.json: its verdict is 'not reproduced', its evaluations say 'reproduced'",
        ),
        ({"recipe": "rll-sopp"}, "no recipe of that name in this version"),
        ({"recipe": "rll-sop+marrgin=1"}, "its files do not fit together: SettingError"),
        ({"data": None}, "its files do not fit together: TypeError"),
    ],
)
def test_what_does_not_count_says_why(tmp_path, changes, reason):
    full_run.write(tmp_path / "a", **changes)
    entry = only(tmp_path)
    assert entry.verdict is None and entry.reason.startswith(reason)


def test_a_run_that_does_not_hold_is_never_counted(tmp_path, monkeypatch):
    """Hits and recall agree with each other, and with what was published; a line was changed after the run."""
    monkeypatch.setenv("COLUMNS", "400")
    folder = full_run.write(tmp_path / "a", rows=evaluations(registry.get("rll-sop"), -2.0))
    assert only(tmp_path).verdict.word == "not reproduced"
    rows = evaluations(registry.get("rll-sop"))
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = only(tmp_path)
    assert entry.verdict is None and entry.reason.startswith("does not hold: result and verdict: run.json: its result")
    record = json.loads((folder / "run.json").read_text()) | {"verdict": "reproduced", "result": rows[-1]}
    (folder / "run.json").write_text(json.dumps(record))
    entry = only(tmp_path)
    assert (
        entry.reason.startswith("does not hold: manifest: evaluations.jsonl: lines 1 to 6 are not as")
        and not entry.holds
    )
    assert entry.best == "", "no value of it stands above another run's"
    full_run.write(tmp_path / "c", "ms-cub", weights=None)
    said = CliRunner().invoke(cli, ["leaderboard", "--runs", str(tmp_path)]).output
    assert said.index(f"{tmp_path}/c") < said.index(f"{tmp_path}/a"), "below those that hold"
    assert "does not hold: manifest" in said
    assert f"0 of {len(registry.RECIPES)} recipes reproduced by training" in said


def test_a_run_without_a_manifest_is_listed_and_not_called_wrong(tmp_path):
    """Else deleting it would be the way to be counted."""
    folder = full_run.write(tmp_path / "a")
    (folder / "manifest.json").unlink()
    entry = only(tmp_path)
    assert entry.verdict is None and entry.reason == "not verifiable (no manifest)" and entry.best == "concat R@1 79.80"


def test_derived_and_changed_recipes_do_not_count(tmp_path, monkeypatch):
    derived = registry.get("rll-sop+margin=1.0")
    full_run.write(tmp_path / "a", derived.name, rows=evaluations(registry.get("rll-sop")))
    assert only(tmp_path).reason == "derived from rll-sop"
    monkeypatch.setattr(leaderboard.lock, "read", lambda: {"rll-sop": "0"})
    full_run.write(tmp_path / "b")
    assert leaderboard.entries(tmp_path)[1].reason.startswith("the recipe is not as locked")


def test_numbers_that_are_not_their_own_counts_do_not_count(tmp_path):
    rows = evaluations(registry.get("rll-sop"))
    rows[-1]["metrics"]["H"]["R@10"] += 0.5
    full_run.write(tmp_path / "a", rows=rows)
    assert only(tmp_path).reason == (
        "does not hold: evaluations: evaluations.jsonl: line 6: H R@10 is 89.6, its 89100 hits of 100000 queries are 89.1"
    )
    full_run.write(tmp_path / "b", rows=evaluations(registry.get("rll-sop"))[:-2])
    assert leaderboard.entries(tmp_path)[1].reason.startswith("evaluated last at iteration 16,000 of 20,000")


def test_a_given_models_evaluation_counts_apart(tmp_path):
    recipe = registry.get("rll-sop")
    facts = {"recipe": "rll-sop", "form": "full", "fingerprint": recipe.fingerprint(), "data": {"name": "sop"}}
    for name, protocol in (("a", None), ("b", "ms-sop")):
        (tmp_path / name).mkdir()
        row = {key: value for key, value in evaluation(recipe, 0).items() if key != "iteration"}
        (tmp_path / name / "scores.json").write_text(json.dumps({**facts, "protocol": protocol, **row}))
    own, foreign = leaderboard.entries(tmp_path)
    assert own.how == "evaluate" and own.verdict.passed
    scores = json.loads((tmp_path / "a" / "scores.json").read_text())
    scores["metrics"]["concat"]["R@1"] = 79.9
    (tmp_path / "a" / "scores.json").write_text(json.dumps(scores))
    assert leaderboard.entries(tmp_path)[0].reason == (
        "scores.json: concat R@1 is 79.9, its 79800 hits of 100000 queries are 79.8"
    )
    assert foreign.reason == "by the rules of ms-sop"


def test_the_best_is_never_the_untrained_network():
    recipe = registry.get("rll-sop")
    rows = [evaluation(recipe, 0, +3.0), evaluation(recipe, 10, -3.0)]
    shown = [leaderboard._headline(recipe, some, trained=True) for some in (rows, rows[:1], [])]
    assert shown == ["concat R@1 76.80", "untrained only", "no evaluation"]
    assert leaderboard._headline(recipe, rows[:1], trained=False) == "concat R@1 82.80", (
        "a given model has no iteration"
    )
    assert leaderboard.verify(recipe, [evaluation(recipe, 0, +3.0), evaluation(recipe, 20000, 0.0)]).iteration == 20000


def test_nothing_is_cut_at_any_width(tmp_path, monkeypatch):
    folder = tmp_path / ("a_run_with_a_long_name_" * 4)
    full_run.write(folder, "rll-tpami-market1501", form="embedded")
    for columns in ("40", "80", "400", ""):
        monkeypatch.setenv("COLUMNS", columns)
        said = CliRunner().invoke(cli, ["leaderboard", "--runs", str(tmp_path)]).output
        assert "rll-tpami-market1501 " in said and f"{folder} " in said, columns
    entries = json.loads(CliRunner().invoke(cli, ["leaderboard", "--runs", str(tmp_path), "--json"]).output)
    assert entries["not_counted"][0]["folder"] == str(folder) and entries["counted"] == []


def test_a_torn_record_is_listed_and_stops_nothing(tmp_path):
    full_run.write(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text('{"recipe": "rll')
    assert [bool(entry.verdict) for entry in leaderboard.entries(tmp_path)] == [True, False]


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    full_run.write(tmp_path / "a")
    full_run.write(tmp_path / "b", "ms-cub", form="embedded")
    done = CliRunner().invoke(cli, ["leaderboard", "--runs", str(tmp_path)])
    assert done.exit_code == 0
    assert "reproduced: 12 of 12 values" in done.output and "letters form" in done.output
    assert (
        f"1 of {len(registry.RECIPES)} recipes reproduced by training, 0 by a given model's evaluation; not counted: 1."
        in done.output
    )
    done = CliRunner().invoke(cli, ["leaderboard", "--runs", str(tmp_path / "nowhere")])
    assert isinstance(done.exception, ValueError) and "no such folder" in str(done.exception)
