"""The letters form's length and learning rates: the paper's drops at the same shares of the run, or the frozen solver."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from paper_recipes import registry
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.engines import schedule

CAFFE = [name for name in registry.RECIPES if registry.get(name).torch is None]


def rates(recipe, plan):
    return list(schedule.rates(recipe, plan, images=10**6))


def test_drops_come_at_the_papers_shares_of_the_run():
    """20,000 steps with drops at 5,000, 10,000 and 15,000: of 60 steps, 15 at each rate (to a step at the borders)."""
    recipe = registry.get("rll-sop")
    found = rates(recipe, scales.embedded(recipe))
    assert len(found) == recipe.embedded.iterations
    full = rates(recipe, scales.full(recipe))
    shares = [found.count(rate) / len(found) for rate in sorted(set(found), reverse=True)]
    wanted = [full.count(rate) / len(full) for rate in sorted(set(full), reverse=True)]
    assert np.abs(np.subtract(shares, wanted)).max() <= 1 / len(found) + 1e-12
    assert max(found) == pytest.approx(max(full) * recipe.embedded.rate)


@pytest.mark.parametrize("name", CAFFE)
def test_every_caffe_recipe_sees_its_drops(name):
    """All rates of the paper but those of its last steps, which a short run may not reach."""
    recipe = registry.get(name)
    found = set(rates(recipe, scales.embedded(recipe)))
    steps = {step for step in recipe.caffe.solver["stepvalue"] if step < 0.9 * recipe.iterations}
    assert len(found) >= len(steps)


def test_without_the_start_the_solver_is_as_the_authors_program_had_it():
    """Recorded on the letters at 0, 60, 120 and 240 steps, at a rate that never drops in so few."""
    recipe = registry.get("rll-sop")
    plan = scales.embedded(recipe, seeded=True)
    assert scales.caffe_at(recipe, plan) == recipe.caffe
    assert plan.iterations == 240 and {0, 60, 120, 240} <= plan.evaluations
    assert len(set(rates(recipe, plan))) == 1
    assert (plan.test_classes, plan.test_pictures) == (60, None)  # what it was scored on


def test_the_full_form_is_never_scaled():
    for name in CAFFE:
        recipe = registry.get(name)
        assert scales.caffe_at(recipe, scales.full(recipe)) is recipe.caffe


def test_the_letters_rate_is_a_share_of_the_papers():
    for name in ("rll-sop", "ms-cub"):
        recipe = registry.get(name)
        slower = dataclasses.replace(recipe, embedded=dataclasses.replace(recipe.embedded, rate=0.25))
        usual = rates(recipe, scales.embedded(recipe))
        found = rates(slower, scales.embedded(slower))
        # float32 rates of Caffe's
        assert found == pytest.approx([0.25 / recipe.embedded.rate * rate for rate in usual], rel=1e-6)


def test_every_letters_run_is_evaluated_six_times():
    for name in registry.RECIPES:
        assert len(scales.embedded(registry.get(name)).evaluations) >= 6, name


def test_a_plan_is_read_back_and_old_ones_too():
    plan = scales.embedded(registry.get("rll-sop"))
    written = scales.as_json(dataclasses.replace(plan, double=True))
    assert scales.of_json(written) == dataclasses.replace(plan, double=True)
    old = {key: value for key, value in written.items() if key not in ("double", "scaled", "rate")}
    assert not scales.of_json(old).scaled and scales.of_json(old).label == "embedded"
    assert scales.of_json(written).label == "embedded, double"
