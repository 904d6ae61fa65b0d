"""`compare --html`: one page of two runs; what cannot be compared is said."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner
from helpers import report_run

from paper_recipes import registry
from paper_recipes.runner.cli import cli
from paper_recipes.runner.reports import compare_page, seen
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring import insight


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    first = report_run.make(root / "first", names=[f"<b>{k}" for k in range(8)])
    return first, report_run.make(root / "second", name="ms-cub+alpha=3", iterations=(0, 2, 3), seed=7)


def test_curves_settings_and_classes(pair, tmp_path):
    done = CliRunner().invoke(cli, ["compare", *map(str, pair), "--html", f"{tmp_path}/c.html"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "c.html").read_text()
    assert text.count('<img src="data:image/png;base64,') == 2 and "<script" not in text
    cells = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", text, re.S)]
    assert ["torch.loss.alpha", "2.0", "3.0"] in cells and ["seed", "1", "7"] in cells
    assert not any(row and row[0] in ("iterations", "test data") for row in cells), "equal ones are left out"
    recall = [
        {one.label: one.percent for one in insight.recall_by_class(seen.of_run(run, registry.get("ms-cub")))}
        for run in pair
    ]
    lost = sum(recall[1][label] < recall[0][label] for label in recall[0])
    assert f"{sum(recall[1][k] > recall[0][k] for k in recall[0])} classes won, {lost} lost" in text and lost > 3
    assert "&lt;b&gt;0" in text and "<b>0" not in text


def test_it_is_the_same_twice(pair, tmp_path):
    for name in ("a", "b"):
        compare_page.write(list(pair), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_cannot_be_compared_is_said(pair, tmp_path):
    others = [report_run.make(tmp_path / "other", classes=5), report_run.make(tmp_path / "none", iterations=())]
    compare_page.write([pair[0], *others], tmp_path / "c.html")
    text = (tmp_path / "c.html").read_text()
    assert "the runs were scored on different test sets" in text and "a run keeps no embeddings" in text
    with pytest.raises(RunError, match="give two or more"):
        compare_page.write([pair[0]], tmp_path / "d.html")
    assert not (tmp_path / "d.html").exists()
