"""`compare`: synthetic run directories, so the numbers are known."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from paper_recipes import registry
from paper_recipes.runner.cli import cli
from paper_recipes.runner.reports import brief, compare
from paper_recipes.runner.run_files import RunError

# of a file whose sha256 no recipe can know, with the images of the Caffe recipes
WEIGHTS = {"file": "googlenet_bn.caffemodel", "sha256": "0" * 64, "recipes_images": "B,G,R", "own_images": "B,G,R"}


def write_run(folder, recipe, form, evaluations, data="sop", weights=WEIGHTS):
    """A run directory as `run` leaves it, as far as `compare` reads it; evaluations: (iteration, {net: metrics})."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps({"recipe": recipe, "form": form, "data": {"name": data}, "weights": weights})
    )
    lines = [json.dumps({"iteration": i, "metrics": metrics, "hits": {}, "queries": 9}) for i, metrics in evaluations]
    (folder / "evaluations.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


@pytest.fixture
def full(tmp_path):
    """The best checkpoint, by the headline's R@1, is neither the first nor the last."""
    nets = registry.get("rll-tpami-sop").embeddings
    rows = [
        (i, {net: {"R@1": r - n, "R@10": r + 10 - n, "R@100": r + 15.0 - n} for n, net in enumerate(nets)})
        for i, r in ((14000, 76.25), (26000, 78.5), (30000, 78.25))
    ]
    return write_run(tmp_path / "full", "rll-tpami-sop", "full", rows)


@pytest.fixture
def small(tmp_path):
    rows = [(0, {"embedding": {"R@1": 30.0, "R@2": 40.0}}), (20, {"embedding": {"R@1": 52.0, "R@2": 61.5}})]
    return write_run(tmp_path / "small", "ms-cub", "embedded", [*rows], data="letters")


@pytest.fixture
def persons(tmp_path):
    rows = [(60, {"M": {"R@1": 88.0, "R@5": 95.0, "mAP": 70.125}})]
    return write_run(tmp_path / "persons", "osm-mars", "embedded", rows, data="letters")


def test_other_weights_are_seen_beside_published_values(tmp_path):
    rows = [(3000, {"embedding": {"R@1": 65.7}})]
    other = {**WEIGHTS, "file": "bn_inception-52deb4733.pth"}
    runs = [write_run(tmp_path / "a", "ms-cub", "full", rows, "cub", other)]
    runs += [write_run(tmp_path / "b", "ms-cub", "full", rows, "cub", {**other, "sha256": "52deb4733".ljust(64, "0")})]
    runs += [write_run(tmp_path / "c", "ms-cub", "full", rows, "cub", None)]
    forms = [row.form for row in compare.lines(runs) if row.form != "published"]
    assert forms == ["full, weights: another file", "full", "full, weights: not recorded"]


def test_which_evaluation_and_which_published_rows(full, small):
    rows = compare.lines([full, small])
    mine = [row for row in rows if row.form != "published"]
    assert {row.iteration for row in mine if row.form == "full"} == {"26000"}  # the best
    assert [row.iteration for row in mine if row.form == "letters"] == ["20"]  # the last
    held = {(row.recipe, row.embedding): row.metrics for row in rows if row.form == "published"}
    assert held["rll-tpami-sop", "concat"] == {"R@1": 78.7, "R@10": 90.5, "R@100": 95.9}
    assert held["ms-cub", "embedding"]["R@32"] == 97.3
    assert {row.data for row in rows if row.form == "published"} == {"sop", "cub"}
    assert {row.data for row in mine} == {"sop", "letters"}


def test_the_same_recipe_twice_has_its_published_rows_once(full):
    rows = compare.lines([full, full])
    assert sum(row.form == "published" and row.embedding == "concat" for row in rows) == 1
    assert sum(row.form == "full" and row.embedding == "concat" for row in rows) == 2


def test_a_derived_run_stands_beside_its_parents_values(tmp_path):
    name = registry.get("ms-cub+sampler.classes_per_batch=6").name
    folder = write_run(tmp_path / "own", name, "own", [(8, {"embedding": {"R@1": 1.0}})], data="own folder mine")
    rows = compare.lines([folder])
    assert [row.form for row in rows] == ["own", "published"] and rows[0].recipe == name
    assert rows[1].recipe == "ms-cub" and rows[1].data == "cub"


def test_markdown_csv_and_latex_hold_the_same(full, small, persons):
    rows = compare.lines([full, small, persons])
    records = list(csv.reader(io.StringIO(compare.as_text(*compare.table(rows), "csv"))))
    header, body = records[0], records[1:]
    # recalls by K first, whatever run they are of; then the rest
    assert header[:5] == ["recipe", "form", "data", "embedding", "iteration"]
    assert header[5:] == ["R@1", "R@2", "R@4", "R@5", "R@8", "R@10", "R@16", "R@20", "R@32", "R@100", "mAP"]
    assert len(body) == len(rows) and all(len(line) == len(header) for line in body)
    best = dict(zip(header, body[0]))
    assert best["R@1"] == "78.50" and best["R@2"] == "" and best["mAP"] == ""
    markdown = [
        line.strip("| ").split(" | ") for line in compare.as_text(*compare.table(rows), "markdown").splitlines()
    ]
    assert [cell.strip() for cell in markdown[0]] == header and len(markdown) == len(rows) + 2
    latex = compare.as_text(*compare.table(rows), "latex").splitlines()
    assert latex[0] == r"\begin{tabular}{llll" + "r" * 12 + "}" and latex[-1] == r"\end{tabular}"
    assert [cell.strip() for cell in latex[4].removesuffix(r" \\").split("&")] == body[0]
    assert latex.count(r"\midrule") == 1


def test_latex_escapes_what_tex_would_read(tmp_path):
    folder = write_run(tmp_path / "x", "ms-cub", "own", [(1, {"embedding": {"R@1": 1.0}})], data="own folder a_b&c#1%")
    assert r"own folder a\_b\&c\#1\%" in compare.as_text(*compare.table(compare.lines([folder])), "latex")


def test_brief_is_one_line_for_each_run(small, persons, full):
    (small / "raw_pixels.json").write_text(json.dumps({"metrics": {"raw pixels": {"R@1": 40.25}}}))
    (small / "clustering.json").write_text(json.dumps({"embedding": {"NMI": 61.04}}))
    rows = [{"iteration": 0, "extraction_seconds": 9.0}, *({"iteration": i, "seconds": s} for i, s in ((1, 9), (2, 2)))]
    (small / "timings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"seconds": 2.5}]))
    header, body = brief.table([small, persons, full])
    found = [dict(zip(header, line)) for line in body]
    assert found[0] == {
        "recipe": "ms-cub", "form": "letters, not verifiable (no manifest)", "data": "letters", "batch": "", "iterations": "20",
        "embedding": "embedding", "R@1 raw pixels": "40.2", "R@1 start": "30.0", "R@1": "52.0", "mAP": "",
        "NMI": "61.0", "s/iteration": "2.50",
    }  # fmt: skip
    # nothing before the first step, no raw pixels, no clusters: empty, not zero
    assert [found[1][key] for key in ("R@1 raw pixels", "R@1 start", "NMI")] == ["", "", ""]
    assert (found[1]["R@1"], found[1]["mAP"]) == ("88.0", "70.1")
    # the last of a full run, where the long table has the best
    assert (found[2]["R@1"], found[2]["iterations"]) == ("78.2", "30000")
    done = CliRunner().invoke(cli, ["compare", str(small), str(persons), "--brief", "--format", "latex"])
    assert done.exit_code == 0 and done.output.splitlines()[0] == r"\begin{tabular}{lllrrlrrrrrr}"


def colours(picture):
    """Distinct saturated colours, coarsely."""
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3).astype(int)
    strong = pixels[np.ptp(pixels, axis=1) > 90] // 32
    return {tuple(c) for c in strong.tolist()}


def test_both_pictures_are_drawn(full, small, persons, tmp_path):
    """Looked at, too; here only that each has axes and several curves."""
    done = CliRunner().invoke(
        cli,
        [
            "compare",
            str(full),
            str(small),
            str(persons),
            "--plot",
            f"{tmp_path}/k.png",
            "--curves",
            f"{tmp_path}/it.png",
        ],
    )
    assert done.exit_code == 0 and done.output.startswith("| recipe | form | data |")
    for name in ("k.png", "it.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > 600
        assert len(colours(tmp_path / name)) >= 3


def test_logs_of_the_authors_are_beside_the_run(full, monkeypatch, tmp_path):
    from paper_recipes.runner.reports import figures

    drawn = []
    monkeypatch.setattr(figures, "recall_over_iterations", lambda path, curves: drawn.extend(curves))
    compare.plot_iterations([full, full], tmp_path / "x.png")
    assert [dashed for _, _, dashed in drawn] == [False, False, True]  # the log once
    label, points, _ = drawn[-1]
    assert label == "rll-tpami-sop concat (authors' log)" and (26000, 78.7) in points
    assert drawn[0][1] == [(14000, 76.25), (26000, 78.5), (30000, 78.25)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "is not a run directory: there is no run.json"),
        (lambda run: (run / "run.json").write_text("{"), r"run.json: not a run record"),
    ],
)
def test_what_is_no_run_is_said(full, spoil, message):
    spoil(full)
    with pytest.raises(RunError, match=message):
        compare.lines([full])
    with pytest.raises(RunError, match=message):
        compare.plot_iterations([full], full / "x.png")


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text('{"iteration": 0, "met')])
def test_a_run_without_an_evaluation_is_one_marked_row(full, small, spoil, tmp_path):
    spoil(small / "evaluations.jsonl")
    rows = compare.lines([full, small])
    (marked,) = [row for row in rows if row.recipe == "ms-cub" and row.form != "published"]
    assert marked.mark.startswith("no evaluation") and not marked.metrics
    assert sum(row.form == "full" for row in rows) > 1, "the other runs are there"
    assert sum("no evaluation" in line[1] for line in compare.table(rows)[1]) == 1
    header, body = brief.table([small, full])
    assert "no evaluation" in body[0][1] and dict(zip(header, body[0]))["R@1"] == ""
    compare.plot_iterations([full, small], tmp_path / "x.png")
    with pytest.raises(RunError, match="no evaluation to plot"):
        compare.plot_iterations([small], tmp_path / "y.png")
    shown = CliRunner().invoke(cli, ["compare", str(small), str(full), "--format", "json"])
    assert "no evaluation: " in json.loads(shown.output)[0]["form"]


def test_nothing_to_plot_is_said(tmp_path):
    folder = write_run(tmp_path / "x", "dm-batch-all-cub", "own", [(1, {"embedding": {"NMI": 50.0}})])
    with pytest.raises(RunError, match="no recall"):
        compare.plot(compare.lines([folder]), tmp_path / "x.png")
