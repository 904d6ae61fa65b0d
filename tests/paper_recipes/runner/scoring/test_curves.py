"""The authors' recall over the iterations, and a run's beside it. The oracle is the log itself, fed back as a run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

from paper_recipes import registry
from paper_recipes.registry import get
from paper_recipes.runner.reports import figures, terminal
from paper_recipes.runner.scoring import curves, verdict

LOGGED = (
    "rll-tpami-sop", "rll-tpami-inshop", "rll-tpami-market1501", "osm-cub", "osm-cub-bbox", "osm-cars196",
    "osm-cars196-bbox", "osm-mars", "osm-lpw",
)  # fmt: skip


QUERIES = 10**9  # so many that every logged value is a whole count of them


def run_of(name, shift=0.0, leave_out=(), only=None):
    """Evaluations that equal the authors' log, but for `shift` points at the iterations `only`."""
    rows = {}
    for net, points in curves.logged(get(name)).items():
        for point in points:
            row = {"iteration": point.iteration, "metrics": {}, "hits": {}, "queries": QUERIES}
            row = rows.setdefault(point.iteration, row)
            moved = shift if only is None or point.iteration in only else 0.0
            values = {key: value + moved for key, value in point.metrics.items()}
            row["metrics"][net] = values
            row["hits"][net] = {key: round(value * QUERIES / 100) for key, value in values.items() if key != "mAP"}
    return [row for iteration, row in sorted(rows.items()) if iteration not in leave_out]


def test_every_release_with_logs_has_its_curves():
    assert tuple(name for name in registry.RECIPES if curves.logged(get(name))) == LOGGED
    assert curves.logged(get("rll-sop")) == {} and curves.compare(get("rll-sop"), []) == ()


@pytest.mark.parametrize("name", LOGGED)
def test_a_recipe_evaluates_where_the_authors_did(name):
    """Same nets, no iteration twice, every logged checkpoint is one that a full run scores, and so is every metric."""
    recipe, points = get(name), curves.logged(get(name))
    assert set(points) <= set(recipe.embeddings) and next(iter(points)) == recipe.embeddings[0]
    scored = {f"R@{k}" for k in recipe.evaluation.ks} | ({"mAP"} if recipe.evaluation.protocol == "reid" else set())
    for log in points.values():
        iterations = [point.iteration for point in log]
        assert iterations == sorted(set(iterations)) and set(iterations) <= set(recipe.evaluation.iterations)
        assert all(set(point.metrics) <= scored for point in log)


@pytest.mark.parametrize("name", LOGGED)
def test_the_expected_values_lie_on_the_curve(name):
    """What a recipe is held to was typed from the tables and logs; the curve comes from the recorded lines."""
    recipe = get(name)
    # MARS's re-ranked lines are all of one iteration and do not say their settings: there is no curve of them.
    logged = [e for e in recipe.expected if e.embedding != "M re-ranked"]
    for expected in logged:
        values = [p.metrics.get(expected.metric) for p in curves.logged(get(name)).get(expected.embedding, ())]
        # MARS and LPW are printed with one decimal or none less than they are logged with.
        assert any(v is not None and abs(v - expected.value) < 0.051 for v in values), expected


def test_numbers_of_points_as_counted_in_the_logs():
    """Lines of the released text files (repeated and out-of-order lines left out)."""
    count = {name: {net: len(points) for net, points in curves.logged(get(name)).items()} for name in LOGGED}
    assert count["rll-tpami-sop"] == dict.fromkeys(("concat", "H", "L", "M", "LH", "LM", "MH"), 9)
    assert count["rll-tpami-inshop"] == {"concat": 15, "H": 15, "L": 15, "M": 15, "HL": 1, "HM": 6, "ML": 1}
    joined = [name for name in get("rll-tpami-market1501").embeddings if name.startswith("concat")]
    assert count["rll-tpami-market1501"] == dict.fromkeys(joined, 4) and len(joined) == 4
    assert [count[name]["M"] for name in LOGGED[3:]] == [9, 9, 37, 13, 8, 4]


def test_a_line_from_another_checkpoint_is_not_part_of_the_series():
    """Recall_LH_d64.txt starts with an iteration 24000 of 78.4; the series' own is 78.1."""
    point = {p.iteration: p for p in curves.logged(get("rll-tpami-sop"))["LH"]}[24000]
    assert point.metrics["R@1"] == 78.1 and "line 7" in point.source


def test_market_takes_the_plain_protocols_and_mars_the_junk_free_one():
    last = {net: log[-1].metrics for net, log in curves.logged(get("rll-tpami-market1501")).items()}
    assert last == {
        "concat": {"mAP": 71.0651, "R@1": 88.4798},
        "concat (avg of queries)": {"mAP": 78.9269, "R@1": 92.0131},
        "concat (max of queries)": {"mAP": 78.7506, "R@1": 91.8052},
        "concat (max of queries) re-ranked": {"mAP": 80.8617, "R@1": 91.8052},
    }
    mars = {p.iteration: p.metrics for p in curves.logged(get("osm-mars"))["M"]}
    assert mars[60000]["R@1"] == 84.7475 and mars[60000]["mAP"] == 72.3538


@pytest.mark.parametrize("name", LOGGED)
def test_the_log_itself_passes(name):
    found = curves.compare(get(name), run_of(name))
    assert found and all(curve.holds for curve in found)
    assert all(curve.worst is not None and curve.worst.difference == 0 for curve in found)


def test_a_shifted_curve_names_the_iterations_that_differ():
    found = curves.compare(get("osm-cub"), run_of("osm-cub", shift=-1.1, only=(1500, 2250)))
    assert [curve.metric for curve in found] == ["R@1", "R@2", "R@4", "R@8", "R@16", "R@32"]
    for curve in found:
        assert not curve.holds and [row.iteration for row in curve.off] == [1500, 2250]
        assert {row.verdict for row in curve.off} == {"too low"}
    assert found[0].worst.difference == pytest.approx(-1.1) and "1500" in found[0].summary
    # The band is the recipe's own: 1 point.
    assert all(c.holds for c in curves.compare(get("osm-cub"), run_of("osm-cub", shift=-0.99)))
    high = curves.compare(get("osm-cub"), run_of("osm-cub", shift=1.01))
    assert {row.verdict for curve in high for row in curve.rows} == {"higher"} and not any(c.holds for c in high)


def test_a_checkpoint_that_was_not_scored_is_missing():
    evaluations = run_of("osm-lpw", leave_out=(60000,))
    evaluations[0]["metrics"]["M"]["R@1"] = float("nan")
    first = curves.compare(get("osm-lpw"), evaluations)[0]
    assert [(row.iteration, row.verdict) for row in first.off] == [(50000, "missing"), (60000, "missing")]
    assert "60000" in first.summary and not first.holds


def test_verify_brings_the_curves_and_they_do_not_set_the_exit_code():
    """The last checkpoints are what the paper reports; early ones of two runs may differ by more than the band."""
    found = verdict.verify(get("osm-cub"), run_of("osm-cub", shift=-3.0, only=(1000,)))
    assert found.passed and not found.curves[0].holds and found.curves[0].off[0].iteration == 1000
    assert verdict.verify(get("rll-sop"), [{"iteration": 1, "metrics": {}}]).curves == ()


def test_the_verdict_on_the_terminal_names_the_curves(capsys):
    terminal.verdict(verdict.verify(get("osm-cub"), run_of("osm-cub", shift=-3.0, only=(1000,))))
    text = " ".join(capsys.readouterr().out.split())
    assert "authors' log: M R@1 too low at 1000, worst difference -3.0 at 1000" in text and "reproduced" in text
    # `evaluate --model` scores a file of unknown iteration: beside no checkpoint.
    terminal.verdict(verdict.verify(get("osm-cub"), [{**run_of("osm-cub")[4], "iteration": 0}]))
    assert "beside the authors' log" not in capsys.readouterr().out


def test_the_pictures(tmp_path):
    recipe = get("rll-tpami-inshop")
    figures.authors_curves(recipe, run_of(recipe.name, shift=-0.4), tmp_path / "both.png")
    figures.authors_curves(recipe, None, tmp_path / "authors.png")
    figures.authors_curves(get("osm-mars"), run_of("osm-mars", shift=0.4, leave_out=(55000,)), tmp_path / "reid.png")
    for name in ("both.png", "authors.png", "reid.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 600 and len(picture.convert("L").getcolors()) > 20


def call(*args, cwd):
    command = [sys.executable, "-m", "paper_recipes", "curves", *map(str, args)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    return done


def run_folder(folder, name, evaluations, form="full"):
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"recipe": name, "form": form, "data": {}}))
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluations))
    return folder


def test_the_command_line(tmp_path):
    done = call("osm-cub", cwd=tmp_path)
    assert done.returncode == 0 and "55.3" in done.stdout and "CUB_Recall.txt" in done.stdout
    same = run_folder(tmp_path / "same", "osm-cub", run_of("osm-cub"))
    done = call("osm-cub", same, "--plot", "curves.png", cwd=tmp_path)
    assert done.returncode == 0 and "as logged" in done.stdout and (tmp_path / "curves.png").stat().st_size > 5000
    low = run_folder(tmp_path / "low", "osm-cub", run_of("osm-cub", shift=-2.0, only=(1750,)))
    done = call("osm-cub", low, cwd=tmp_path)
    assert done.returncode == 1 and "-2.0 at 1750" in done.stdout and "too low" in done.stdout


@pytest.mark.parametrize(
    ("name", "form", "recipe", "words"),
    [
        ("rll-sop", None, None, "no log of the authors is known for rll-sop; there is one for rll-tpami-sop, "),
        (
            "osm-cub",
            "embedded",
            "osm-cub",
            "only a full run is compared with the authors' log, this one is of the letters form",
        ),
        ("osm-cub", "full", "osm-cars196", "is a run of osm-cars196, not of osm-cub"),
        ("osm-cub", "full", "osm-cub", "the run has no evaluation yet"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, name, form, recipe, words):
    extra = [run_folder(tmp_path / "run", recipe, [], form)] if recipe else []
    done = call(name, *extra, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("form", ["full", "embedded"])
def test_the_report(tmp_path, monkeypatch, form):
    """A full run's report has the table and both curves; an embedded one's the authors' curve alone, marked."""
    from paper_recipes.runner.reports import page

    evaluations = run_of("osm-lpw", shift=-4.0, only=(60000,))
    out = run_folder(tmp_path / "run", "osm-lpw", evaluations, form)
    monkeypatch.setattr(page, "_settings_table", lambda recipe, record: "")
    monkeypatch.setattr(page, "_environment_table", lambda record: "")
    for row in evaluations:
        row["queries"] = 756
    (out / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in evaluations))
    facts = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**facts, "status": "finished", "data": {}}))
    page.write(out, [{"link": "loss gradient", "verdict": "verified"}])
    text = (out / "report.md").read_text()
    if form == "full":
        assert "| M | R@1 | 4 | -4.0 at 60000 | too low at 60000 |" in text and (out / "curves.png").exists()
        assert "| 60000 | 65.4 | 69.4 | -4.0 | too low |" in text and "Not this run" not in text
    else:
        assert "**Not this run.**" in text and "![The authors' logs](authors_curves.png)" in text
        assert (out / "authors_curves.png").exists() and "worst difference" not in text
        assert not (out / "curves.png").exists()
