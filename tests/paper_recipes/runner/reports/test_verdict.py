"""Held to the published values: missing or not finite is failure, too high is a warning."""

from __future__ import annotations

import pytest

from paper_recipes.registry import get
from paper_recipes.runner.reports.verdict import verify

PUBLISHED = {"concat": {"R@1": 79.8, "R@10": 91.3, "R@100": 96.3}, "H": {"R@1": 76.1, "R@10": 89.1, "R@100": 95.4}}


def evaluation(iteration=16000, **changes):
    metrics = {name: dict(values) for name, values in PUBLISHED.items()}
    for key, value in changes.items():
        metrics["concat"][key.replace("_", "@")] = value
    return {"iteration": iteration, "metrics": metrics}


def test_published_values_pass():
    verdict = verify(get("rll-sop"), [evaluation()])
    assert verdict.passed and {row.verdict for row in verdict.rows} == {"as published"}


@pytest.mark.parametrize(
    ("changes", "word", "passed"),
    [
        ({"R_1": 79.3}, "as published", True),  # the band's lower end: 79.8 - 0.5
        ({"R_1": 79.2}, "too low", False),
        ({"R_1": 80.4}, "suspiciously high", True),
        ({"R_1": float("nan")}, "missing", False),
    ],
)
def test_the_band(changes, word, passed):
    verdict = verify(get("rll-sop"), [evaluation(**changes)])
    assert verdict.rows[0].verdict == word and verdict.passed is passed


def test_a_missing_metric_fails():
    row = evaluation()
    del row["metrics"]["H"]
    assert not verify(get("rll-sop"), [row]).passed


def test_the_best_checkpoint_is_chosen_as_the_authors_chose_theirs():
    rows = [evaluation(10000, R_1=70.0), evaluation(16000), evaluation(20000, R_1=79.5)]
    assert verify(get("rll-sop"), rows).iteration == 16000


def test_nothing_to_compare():
    assert verify(get("rll-sop"), []) is None
