"""The learning rate of every step of a run, from the recipe alone: what a record of steps is held to."""

from __future__ import annotations

from collections.abc import Iterator

from caffe_compat.solver.lr_policy import LearningRate
from paper_recipes.nets.messages import to_message
from paper_recipes.recipe import Phase, Recipe
from paper_recipes.runner.data import scale as scales


def rates(recipe: Recipe, plan: scales.Plan, images: int) -> Iterator[float]:
    """Of iterations 1 to the plan's last. images: of the training set, on which the scale of a PyTorch recipe depends."""
    if recipe.torch is None:
        caffe = scales.caffe_at(recipe, plan)
        rate = LearningRate(to_message(caffe.solver, "SolverParameter", caffe.dialect))
        yield from (rate(iteration) for iteration in range(plan.iterations))
        return
    phases = scales.torch_at(recipe, plan, images).phases
    for number, phase in enumerate(phases):
        last = number == len(phases) - 1  # goes on as long as the run does
        yield from (of_phase(phase, done) for done in range(plan.iterations if last else phase.iterations))


def of_phase(phase: Phase, done: int) -> float:
    """Rate of the update after `done` updates of the phase."""
    return phase.lr * phase.gamma ** sum(drop <= done for drop in phase.drops)
