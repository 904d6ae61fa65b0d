"""The report: what stands on top, that it needs nothing beside it, that it is the same twice; odd runs are told, not failed on."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from helpers import full_run, report_run

from paper_recipes import registry
from paper_recipes.runner.reports import page, seen, top
from paper_recipes.runner.scoring import insight, letters_recorded
from paper_recipes.runner.verification.marks import Mark

NAMES = [f"a class name of forty characters no {k:04d}_"[:40] for k in range(8)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = report_run.make(tmp_path_factory.mktemp("report") / "run", names=NAMES)
    page.write(out, report_run.CHAIN)
    return out


def test_it_is_one_file_without_a_script(run):
    text = (run / "report.html").read_text()
    assert "<script" not in text and not re.findall(r'(?:src|href)="(?!data:image/png;base64,)', text)
    pictures = re.findall(r'<img src="data:[^"]+" alt="([^"]*)"', text)
    assert len(pictures) == 7 and all(len(alt) > 20 for alt in pictures), "each is told in words, too"
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert "default-src 'none'" in text


def test_every_picture_also_lies_beside_it(run):
    wanted = ("losses", "recall", "chain", "distances", "retrieval", "map", "classes")
    assert all((run / f"{name}.png").stat().st_size > 3000 for name in wanted)
    assert set(re.findall(r"\]\((\w+)\.png\)", (run / "report.md").read_text())) == set(wanted)


def test_map_at_r_stands_at_the_distances(run, tmp_path):
    """A run of before there was the number has the picture alone."""
    (distances,) = re.findall(r"## Distances(.*?)##", (run / "report.md").read_text(), flags=re.DOTALL)
    start, end = re.findall(
        r"MAP@R of these queries by plain cosine: (\S+) % before training, (\S+) % at iteration 10\.", distances
    )[0]
    recall = insight.map_at_r(seen.of_run(run, registry.get("ms-cub")))
    assert float(start) < float(end) and end == f"{recall:.1f}"
    old = json.loads((run / "distances.json").read_text())
    (tmp_path / "distances.json").write_text(
        json.dumps({"rows": [{k: v for k, v in row.items() if k != "map_at_r"} for row in old["rows"]]})
    )
    drawn = seen.Seen(["distances.png"], [])
    assert "MAP@R" not in "".join(seen.sections(tmp_path, registry.get("ms-cub"), {"data": {}}, [], drawn))


def test_twice_is_the_same_to_the_bit(run):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    page.write(run, report_run.CHAIN)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_the_chain_is_drawn_and_opens(run):
    text = (run / "report.html").read_text()
    kinds = re.findall(r'<li class="(\w+)"><details><summary>(.) ([^<]+)</summary>', text)
    assert kinds == [
        ("open", "–", "weights"),
        ("good", "✓", "images: resize"),
        ("good", "✓", "sampler"),
        ("bad", "✗", "loss gradient"),
    ]
    assert "<dt>worst error</dt><dd>4.5e-13</dd>" in text


def test_recall_of_classes_is_counted_as_the_protocol_does(run):
    text = (run / "report.md").read_text()
    assert "The protocol counts the same." in text and "## Recall of each class" in text
    assert all(name in text for name in NAMES), "whole names in the table of the worst ten"


def the_verdict(text):
    """(kind, sentence); it stands above the tiles, and they above the first heading."""
    found = re.search(r'<p class="verdict (\w+)">([^<]+)</p>', text)
    assert text.index(found[0]) < text.index('<div class="tiles">') < text.index("<h2>")
    return found[1], found[2]


def test_the_verdict_is_one_sentence_on_top(run):
    text = (run / "report.html").read_text()
    kind, words = the_verdict(text)
    assert kind == "open" and len(re.findall('class="tile"', text)) == 2
    assert words.startswith(
        "Recall@1 on own folder mine rose from 14.6 % to 81.2 % in 10 steps; this is no reproduction"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": 3, "each": 12}, r"Recall@1 on own folder mine"),
        ({"iterations": (10,)}, r"Recall@1 on own folder mine is \d+\.\d % at iteration 10; this is no"),
        ({"iterations": ()}, r"Nothing was measured: the run has no evaluation"),
    ],
    ids=["three classes", "one evaluation", "none"],
)
def test_odd_runs_have_a_report(tmp_path, changes, words):
    text = page.write(report_run.make(tmp_path / "run", **changes), report_run.CHAIN).read_text()
    kind, sentence = the_verdict(text)
    assert kind == "open" and re.match(words, sentence), sentence
    assert len(re.findall('class="tile"', text)) == (0 if changes.get("iterations") == () else 2)


@pytest.mark.parametrize(
    ("changes", "evaluations", "kind", "words"),
    [
        (
            {"status": "diverged at iteration 7", "diverged": {"line": "diverged at iteration 7: loss is not finite"}},
            3,
            "bad",
            r"The run diverged at iteration 7; what it had reached before is no result",
        ),
        (
            {"status": "stopped by the user at iteration 5"},
            2,
            "open",
            r"No result yet: stopped by the user at iteration 5",
        ),
    ],
    ids=["diverged", "stopped"],
)
def test_a_run_without_an_end_says_so_on_top(run, tmp_path, monkeypatch, changes, evaluations, kind, words):
    """Its pictures are those of any run and are not drawn here."""
    monkeypatch.setattr(page, "_draw", lambda *args: [])
    monkeypatch.setattr(page.seen, "draw", lambda *args: seen.Seen([], []))
    out = shutil.copytree(run, tmp_path / "run")
    (out / "run.json").write_text(json.dumps(json.loads((out / "run.json").read_text()) | changes))
    lines = (out / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (out / "evaluations.jsonl").write_text("".join(lines[:evaluations]))
    text = page.write(out, report_run.CHAIN).read_text()
    found = the_verdict(text)
    assert found[0] == kind and re.match(words, found[1]), found
    assert len(re.findall('class="tile"', text)) == 2


def test_a_full_runs_numbers_stand_beside_the_published_ones():
    recipe = registry.get("rll-sop")
    rows = full_run.evaluations(recipe, -2.0)
    rows[2] = full_run.evaluation(recipe, rows[2]["iteration"], 0.1)
    record = {"form": "full", "status": "finished"}
    (first, *_) = top.numbers(recipe, record, rows, None)
    assert (first.name, round(first.value, 1)) == ("R@1", 79.9), "of the best checkpoint"
    assert first.beside == (f"published 79.8 ± {recipe.expected[0].tolerance:g}",)
    verdict = page._verdict(recipe, {**record, "weights": full_run.weights(recipe)}, rows, Mark())
    kind, words = top.sentence(recipe, record, rows, verdict, Mark())
    assert kind == "good"
    count = sum(e.metric != "NMI" for e in recipe.expected)  # which is held where it was computed
    assert words == f"Reproduced; {count} of {count} published values are met within their bands, at iteration 14,000."
    low = page._verdict(recipe, {**record, "weights": full_run.weights(recipe)}, rows[:1], Mark())
    kind, words = top.sentence(recipe, record, rows[:1], low, Mark())
    assert kind == "bad" and words.startswith(f"Not reproduced; 0 of {count} published values are met")
    other = page._verdict(recipe, {**record, "weights": None}, rows, Mark())
    kind, words = top.sentence(recipe, record, rows, other, Mark())
    assert kind == "bad" and words.startswith("Not comparable: ") and words.endswith(".")


@pytest.mark.parametrize("form, lines", [("full", True), ("embedded", False), ("own", False)])
def test_published_values_are_lines_to_reach_on_the_papers_data_alone(monkeypatch, tmp_path, form, lines):
    given = {}
    monkeypatch.setattr(
        page.figures, "recall_curve", lambda path, rows, raw, published, form, **more: given.update(it=published)
    )
    recipe = registry.get("rll-sop")
    page._draw(tmp_path, recipe, {"form": form}, [], full_run.evaluations(recipe))
    assert bool(given["it"]) == lines


def test_the_untrained_number_stands_beside_the_letters():
    recipe = registry.get("ms-cub")
    rows = [{"iteration": i, "queries": 9, "metrics": {"embedding": {"R@1": v}}} for i, v in ((0, 30.0), (20, 52.0))]
    raw = {"metrics": {"raw pixels": {"R@1": 40.0}}}
    (number,) = top.numbers(recipe, {"form": "embedded", "plan": {"iterations": 20}}, rows, raw)
    assert number.beside == ("published on CUB-200-2011 65.7", "untrained 30.0", "raw pixels 40.0")
    (own,) = top.numbers(recipe, {"form": "own"}, rows, None)
    assert own.beside == ("untrained 30.0",), "what is published is of other pictures"


@pytest.mark.slow
def test_ten_thousand_classes(tmp_path):
    out = report_run.make(tmp_path / "run", classes=10_000, each=2, iterations=(10,))
    text = page.write(out, report_run.CHAIN).read_text()
    # The neighbours' pictures are pure noise here, which no PNG makes smaller; nothing else may grow with the classes.
    (neighbours,) = re.findall(r'<img[^>]*alt="Best, typical and worst[^>]*>', text)
    assert len(text) - len(neighbours) < 500_000 and "of 20,000 queries" in text


def test_without_embeddings_there_is_a_report(run, tmp_path):
    out = report_run.make(tmp_path / "run")
    for path in (out / "embeddings").iterdir():
        path.unlink()
    text = page.write(out, report_run.CHAIN).read_text()
    assert "Nearest neighbours" in text and "Map of the test set" not in text
    assert seen.of_run(out, registry.get("ms-cub")) is None and isinstance(
        seen.of_run(run, registry.get("ms-cub")), insight.Sides
    )


def test_what_the_authors_program_reached_is_drawn_beside_a_run_from_the_same_weights():
    """R@1 hits 230, 245, 423, 557 of 790, in float32; from the letters' start, or another seed, there is nothing to draw."""
    recipe, record = registry.get("rll-sop"), {"form": "embedded", "weights": None, "seed": 123}
    found = letters_recorded.recalls(recipe, record)
    assert [(at, round(value * 7.9)) for at, value in found] == [(0, 230), (60, 245), (120, 423), (240, 557)]
    for other in ({"weights": {"sha256": "0"}}, {"seed": 7}, {"form": "own"}):
        assert letters_recorded.recalls(recipe, record | other) == []
    assert letters_recorded.recalls(registry.get("ms-cub"), record) == []
