"""Held to the published values: below, above, missing, not finite and miscounted are failures, each by its own word."""

from __future__ import annotations

import pytest

from paper_recipes.registry import get
from paper_recipes.runner.reports import terminal
from paper_recipes.runner.scoring.verdict import verify

QUERIES = 100_000

PUBLISHED = {"concat": {"R@1": 79.8, "R@10": 91.3, "R@100": 96.3}, "H": {"R@1": 76.1, "R@10": 89.1, "R@100": 95.4}}
PUBLISHED |= {"L": {"R@1": 76.1, "R@10": 88.8, "R@100": 94.9}, "M": {"R@1": 76.9, "R@10": 89.6, "R@100": 95.5}}


def evaluation(iteration=16000, **changes):
    metrics = {name: dict(values) for name, values in PUBLISHED.items()}
    for key, value in changes.items():
        metrics["concat"][key.replace("_", "@")] = value
    hits = {
        name: {key: round(value * QUERIES / 100) for key, value in values.items() if value == value}
        for name, values in metrics.items()
    }
    return {"iteration": iteration, "metrics": metrics, "hits": hits, "queries": QUERIES}


def test_published_values_pass():
    verdict = verify(get("rll-sop"), [evaluation()])
    assert verdict.passed and {row.verdict for row in verdict.rows} == {"within the band"}


@pytest.mark.parametrize(
    ("changes", "word", "whole"),
    [
        ({"R_1": 79.3}, "within the band", "reproduced"),  # the band's lower end: 79.8 - 0.5
        ({"R_1": 80.3}, "within the band", "reproduced"),  # and its upper end
        ({"R_1": 79.299}, "below the band", "not reproduced"),  # one query of 100,000 less
        ({"R_1": 80.301}, "above the band", "higher than published"),
        ({"R_1": 100.0}, "above the band", "higher than published"),
        ({"R_1": float("nan")}, "missing", "not reproduced"),
    ],
)
def test_the_band(changes, word, whole):
    verdict = verify(get("rll-sop"), [evaluation(**changes)])
    assert (verdict.rows[0].verdict, verdict.word) == (word, whole)
    assert verdict.passed is (whole == "reproduced")


def test_nmi_is_held_where_clusters_were_computed():
    assert len(verify(get("rll-sop"), [evaluation()]).rows) == 12
    clusters = {"concat": {"NMI": 90.4}, "H": {"NMI": 80.0}}
    rows = verify(get("rll-sop"), [{**evaluation(), "clustering": clusters}]).rows
    assert [(row.metric, row.verdict) for row in rows[12:]] == [
        ("concat NMI", "within the band"),
        ("H NMI", "below the band"),
    ]


def test_one_value_above_and_one_below_is_below():
    assert verify(get("rll-sop"), [evaluation(R_1=90.0, R_10=50.0)]).word == "not reproduced"


def test_a_recall_that_is_not_its_count_is_no_success():
    row = evaluation()
    row["metrics"]["H"]["R@10"] += 0.1  # still within the band
    verdict = verify(get("rll-sop"), [row])
    assert verdict.rows[4].verdict == "not what its count says" and verdict.word == "not reproduced"
    row = evaluation()
    del row["hits"]
    assert {r.verdict for r in verify(get("rll-sop"), [row]).rows} == {"not what its count says"}


def test_an_objection_stands_over_the_numbers(capsys):
    verdict = verify(get("rll-sop"), [evaluation()], objection="weights: another file")
    assert not verdict.passed and verdict.word == "not comparable"
    terminal.verdict(verdict)
    assert "not comparable: weights: another file" in capsys.readouterr().out


def test_the_terminal_says_what_to_check(capsys):
    terminal.verdict(verify(get("rll-sop"), [evaluation(R_1=85.0)]))
    assert "higher than published: check split, weights and protocol" in capsys.readouterr().out


def test_a_missing_metric_fails():
    row = evaluation()
    del row["metrics"]["H"]
    assert not verify(get("rll-sop"), [row]).passed


def test_the_best_checkpoint_is_chosen_as_the_authors_chose_theirs():
    rows = [evaluation(10000, R_1=70.0), evaluation(16000), evaluation(20000, R_1=79.5)]
    assert verify(get("rll-sop"), rows).iteration == 16000


def test_nothing_to_compare():
    assert verify(get("rll-sop"), []) is None
