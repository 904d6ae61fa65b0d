"""A letters run beside its band: what is held to it, what is not, and what its exit code follows from."""

from __future__ import annotations

import dataclasses

import pytest

from paper_recipes import registry
from paper_recipes.letters_start import packing
from paper_recipes.recipe import Band
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.reports import top
from paper_recipes.runner.scoring import letters_band
from paper_recipes.runner.verification.marks import Mark


def case(value=87.5, **changes):
    recipe = registry.get("rll-sop")
    band = Band("R@1", 87.1, 1.0, "two kinds of machine")
    recipe = dataclasses.replace(recipe, embedded=dataclasses.replace(recipe.embedded, band=band))
    record = {
        "form": "embedded",
        "status": "finished",
        "plan": scales.as_json(scales.embedded(recipe)),
        "seed": recipe.seed,
        "replicas": None,
        "weights": {"sha256": packing.UNPACKED_SHA256[packing.CAFFE]},
        "data": {"name": "letters"},
        **changes,
    }
    evaluations = [
        {"iteration": n, "metrics": {"concat": {"R@1": r}}} for n, r in ((0, 60.0), (recipe.embedded.iterations, value))
    ]
    return recipe, record, evaluations


@pytest.mark.parametrize(
    ("value", "passed"), [(87.1, True), (86.1, True), (88.1, True), (86.09, False), (88.11, False), (100.0, False)]
)
def test_within_and_outside(value, passed):
    held = letters_band.check(*case(value))
    assert held.passed is passed and held.word == ("within" if passed else "outside") + " the letters band"
    assert "not of the paper's number" in held.sentence and "two kinds of machine" in held.sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": None},
        {"weights": {"sha256": "0" * 64}},
        {"seed": 7},
        {"form": "embedded, double"},
        {"form": "own"},
        {"replicas": {"processes": 2}},
        {"plan": scales.as_json(scales.embedded(registry.get("rll-sop"), 30))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_are_not_held_to_it(changes):
    assert letters_band.check(*case(**changes)) is None


def test_a_recipe_without_a_band_is_held_to_nothing():
    recipe, record, evaluations = case()
    without = dataclasses.replace(recipe, embedded=dataclasses.replace(recipe.embedded, band=None))
    assert letters_band.check(without, record, evaluations) is None


def test_a_run_that_did_not_come_to_its_end_is_not_held_to_it():
    recipe, record, evaluations = case()
    assert letters_band.check(recipe, record, evaluations[:1]) is None


def test_the_report_says_it():
    good, bad = (top.sentence(*case(value), None, Mark("")) for value in (87.5, 50.0))
    assert good[0] == "good" and "It ended within the letters band: R@1 87.5" in good[1]
    assert bad[0] == "bad" and "outside the letters band" in bad[1]
    number = top.numbers(*case(), None)[0]
    assert number.beside[-2:] == ("letters band 87.1 ± 1", "start 60.0")
