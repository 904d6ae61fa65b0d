"""Report, comparison and leaderboard run the quick part of the verification and mark what does not hold."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import full_run, tiny_run
from helpers.paths import environment

from paper_recipes import registry
from paper_recipes.runner import manifest, run_files, run_lock
from paper_recipes.runner.cli import cli
from paper_recipes.runner.evidence.row import unverified
from paper_recipes.runner.reports import compare, leaderboard, page
from paper_recipes.runner.verification import marks, quick

EVIDENCE = [unverified("images", "-", "not computed here").as_cells()]


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DML_PORTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("COLUMNS", "400")
        tiny_run.know(patch)
        yield


@pytest.fixture(scope="module")
def honest(made, known):
    return made / "run"


@pytest.fixture
def run(honest, tmp_path):
    return Path(shutil.copytree(honest, tmp_path / "run"))


def better(run: Path) -> str:
    """R@1 99.9 beside its true count in the last evaluation; returns that count."""
    rows = run_files.read(run, "evaluations")
    rows[-1]["metrics"]["fc"]["R@1"] = 99.9
    (run / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"its {rows[-1]['hits']['fc']['R@1']} hits of {rows[-1]['queries']} queries"


def shown(run: Path) -> dict[str, str]:
    """What each of them prints or writes of the run."""
    found = {
        "report": page.write(run, EVIDENCE).with_suffix(".md").read_text(),
        "compare": CliRunner().invoke(cli, ["compare", str(run)]).output,
        "compare --brief": CliRunner().invoke(cli, ["compare", str(run), "--brief"]).output,
        "leaderboard": CliRunner().invoke(cli, ["leaderboard", "--runs", str(run.parent)]).output,
    }
    return {name: " ".join(text.replace("\\", "").split()) for name, text in found.items()}


def test_nothing_stands_beside_an_honest_run(run):
    for name, text in shown(run).items():
        assert "not hold" not in text and "not verifiable" not in text, name
    assert "| evaluations | holds | at the plan's iterations" in (run / "report.md").read_text()
    assert marks.of_run(run).words == "", "the report that was just written is sealed"


def test_an_edited_recall_is_marked_everywhere(run):
    said = better(run)
    for name, text in shown(run).items():
        assert f"does not hold: evaluations: evaluations.jsonl: line 7: fc R@1 is 99.9, {said}" in text, name


def test_a_run_without_a_manifest_is_not_verifiable_and_not_wrong(run):
    (run / manifest.FILE).unlink()
    for name, text in shown(run).items():
        assert "not hold" not in text and "not verifiable (no manifest)" in text, name
    assert marks.of_run(run).words == "not verifiable (no manifest)"


def test_an_edited_recall_without_a_manifest_is_wrong(run):
    (run / manifest.FILE).unlink()
    said = better(run)
    assert said in marks.of_run(run).words and marks.of_run(run).words.startswith("does not hold: evaluations")


def test_rows_of_old_runs_that_count_nothing_are_not_wrong(tmp_path):
    row = {"iteration": 1, "metrics": {"fc": {"R@1": 50.0, "mAP": 3.25}}}
    lines = [row, {**row, "hits": {}, "queries": 9}, {**row, "hits": {"fc": {}}, "queries": 9}]
    (tmp_path / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert marks.of_run(tmp_path).words == "not verifiable (no manifest)"


@pytest.mark.parametrize("metric", ["R@1", "mAP"])
def test_a_metric_that_is_no_number_is_wrong_with_and_without_a_count(metric):
    """Python reads NaN where JSON has none, and NaN is not above any difference."""
    row = {"iteration": 1, "metrics": {"fc": {metric: float("nan")}}, "hits": {"fc": {"R@1": 3}}, "queries": 9}
    assert next(quick.miscounts(row, "line 1")) == f"line 1: fc {metric} is nan"


def test_a_flipped_bit_and_a_lost_record_are_marked(run):
    checkpoint = run / "checkpoints" / "iteration_000002.safetensors"
    data = bytearray(checkpoint.read_bytes())
    data[-3] ^= 1
    checkpoint.write_bytes(data)
    words = marks.of_run(run).words
    assert words.startswith(
        "does not hold: manifest: checkpoints/iteration_000002.safetensors is not as it was written"
    )
    (run / "run.json").write_text("{}")
    assert marks.of_run(run).words.startswith("does not hold: files: ")


def test_a_recipe_that_is_not_known_here_cannot_be_verified(run):
    record = json.loads((run / "run.json").read_text()) | {"recipe": "of_tomorrow"}
    (run / "run.json").write_text(json.dumps(record))
    assert marks.of_run(run).words == "not verifiable (no recipe of that name in this version)"


def test_a_run_that_is_going_on_is_left_alone(run):
    """Its files state something else with every step. The lock of a process that is gone holds nothing."""
    with run_lock.held(run):
        assert marks.of_run(run).words == "", "its own report is written under its lock"
        lock = json.loads((run / run_lock.FILE).read_text())
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        born = run_lock._born(other.pid)
        (run / run_lock.FILE).write_text(json.dumps({**lock, "pid": other.pid, "born": born}))
        assert marks.of_run(run).words.startswith(f"not verifiable (a run is going on there: process {other.pid} on ")
        other.communicate(b"\n")
        assert marks.of_run(run).words == ""


def test_the_second_look_counts_nothing_again(run, monkeypatch):
    better(run)
    words = marks.of_run(run).words

    def again(*args, **kwargs):
        raise AssertionError("looked at again")

    monkeypatch.setattr(quick, "statements", again)
    assert marks.of_run(run).words == words
    with open(run / "steps.jsonl", "a") as file:
        file.write("\n")
    with pytest.raises(AssertionError, match="looked at again"):
        marks.of_run(run)


def test_a_picture_of_a_run_that_does_not_hold_says_so(run, monkeypatch, tmp_path):
    from paper_recipes.runner.reports import figures

    better(run)
    drawn = []
    monkeypatch.setattr(figures, "recall_over_k", lambda path, curves: drawn.extend(curves))
    monkeypatch.setattr(figures, "recall_over_iterations", lambda path, curves: drawn.extend(curves))
    compare.plot(compare.lines([run]), tmp_path / "k.png")
    compare.plot_iterations([run], tmp_path / "i.png")
    assert len(drawn) >= 2 and all("does not hold)" in label for label, _, dashed in drawn if not dashed)


def test_the_report_of_a_full_run_that_does_not_hold_gives_no_verdict(tmp_path):
    folder = full_run.write(tmp_path / "a", "ms-cub")
    assert "**reproduced**" in page.write(folder, EVIDENCE).with_suffix(".md").read_text()
    with open(folder / "steps.jsonl", "a") as file:
        file.write('{"iteration": 3001, "lr": 1e-05, "losses": {"loss": 1.0}}\n')
    text = page.write(folder, EVIDENCE).with_suffix(".md").read_text()
    assert "**reproduced**" not in text
    assert "**not comparable: does not hold: steps: steps.jsonl: 3001 lines, the run says that it has done 3000" in text


def test_torch_is_imported_to_count_hits_again_and_for_nothing_else(tmp_path):
    """A run that kept no embeddings, looked at by all three."""
    full_run.write(tmp_path / "runs" / "a", "ms-cub")
    code = (
        "import sys; from pathlib import Path\n"
        "from paper_recipes.runner.reports import brief, compare, leaderboard\n"
        "from paper_recipes.runner.verification import marks\n"
        "root = Path(sys.argv[1]); (entry,) = leaderboard.entries(root)\n"
        "compare.lines([root / 'a']); brief.table([root / 'a'])\n"
        "assert entry.verdict.passed and marks.of_run(root / 'a').words == '', entry\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs")],
        env=environment(DML_PORTS_CACHE=str(tmp_path / "cache")), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_leaderboard_marks_what_would_not_count_anyway(run):
    """Both reasons are there: that it is not the full recipe, and that it does not hold."""
    better(run)
    (entry,) = leaderboard.entries(run.parent)
    assert entry.reason.startswith("derived from tiny; does not hold: evaluations") and entry.verdict is None
    assert registry.get(entry.recipe).derived_from == "tiny"
