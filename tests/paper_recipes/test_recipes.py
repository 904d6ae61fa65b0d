"""Recipes are frozen facts: printable, fingerprinted, found by name without torch."""

from __future__ import annotations

import dataclasses
import json

import pytest

from paper_recipes import registry
from paper_recipes.runner import plan


def test_every_recipe_is_json_and_has_its_own_fingerprint():
    prints = {name: recipe.fingerprint() for name, recipe in registry.RECIPES.items()}
    assert len(set(prints.values())) == len(prints)
    for recipe in registry.RECIPES.values():
        json.dumps(recipe.canonical())


def test_prose_does_not_change_the_fingerprint_and_facts_do():
    recipe = registry.get("rll-sop")
    assert dataclasses.replace(recipe, cost="a week").fingerprint() == recipe.fingerprint()
    assert dataclasses.replace(recipe, seed=124).fingerprint() != recipe.fingerprint()
    slower = dataclasses.replace(recipe.caffe, solver={**recipe.caffe.solver, "base_lr": 0.001})
    assert dataclasses.replace(recipe, caffe=slower).fingerprint() != recipe.fingerprint()


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(registry.UnknownRecipeError, match=r"Did you mean 'rll-sop'\? There are: rll-sop, "):
        registry.get("rll-sopp")


def test_the_full_plan_is_the_recipes_own():
    recipe = registry.get("rll-sop")
    full = plan.full(recipe)
    assert full.sampler.batch_size == 180 and full.iterations == 20000
    assert sorted(full.snapshots) == list(range(2000, 20001, 2000))
    assert {10000, 16000, 20000} <= full.evaluations and 0 not in full.evaluations


def test_the_embedded_plan_scales_only_the_scale():
    recipe = registry.get("rll-sop")
    small = plan.embedded(recipe)
    assert small.sampler.rule == recipe.sampler.rule and small.sampler.options == recipe.sampler.options
    assert small.sampler.batch_size < recipe.sampler.batch_size
    assert {0, small.iterations} <= small.evaluations and small.iterations in small.snapshots
    assert plan.embedded(recipe, 7).iterations == 7
    assert plan.embedded(recipe, full_batch=True).sampler == recipe.sampler


def test_expected_values_are_the_published_ones():
    """Each expected value stands in the table of published numbers for that paper and data set."""
    from golden import published

    rows = [row["metric"] for row in published.rows(paper="1903.03238", dataset="SOP") if row["method"] == "RLL"]
    for recipe in registry.RECIPES.values():
        for expected in recipe.expected:
            assert any(metric.get(expected.metric) == expected.value for metric in rows), expected
