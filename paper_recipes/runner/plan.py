"""The two scales of a recipe: frozen in full, or embedded (same formulas and code path, small, no download)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from paper_recipes.recipe import Recipe, Sampler


@dataclass(frozen=True)
class Plan:
    """What the training loop needs to know besides the recipe's networks and images."""

    form: str  # "embedded" | "full"
    sampler: Sampler
    iterations: int
    snapshots: frozenset[int]
    evaluations: frozenset[int]
    train_classes: int | None = None  # None: all there are
    test_classes: int | None = None


SMOKE = {
    "classes_per_batch": 3,
    "images_per_class": 2,
    "iterations": 2,
    "train_classes": 6,
    "test_classes": 3,
    "evaluate_every": 1,
}


def full(recipe: Recipe) -> Plan:
    every = range(recipe.snapshot_every, recipe.iterations + 1, recipe.snapshot_every)
    return Plan(
        form="full",
        sampler=recipe.sampler,
        iterations=recipe.iterations,
        snapshots=frozenset([*every, recipe.iterations]),
        evaluations=frozenset([*recipe.evaluation.iterations, recipe.iterations]),
    )


def embedded(recipe: Recipe, iterations: int | None = None, *, full_batch: bool = False, smoke: bool = False) -> Plan:
    """`iterations` shortens (or lengthens) the run; `full_batch` keeps the recipe's own batch and all letters, for a GPU;
    `smoke` is the smallest scale that still takes every step of the code path.
    """
    small = replace(recipe.embedded, **SMOKE) if smoke else recipe.embedded
    last = small.iterations if iterations is None else iterations
    every = {*range(small.evaluate_every, last + 1, small.evaluate_every), last}
    sampler = replace(
        recipe.sampler, classes_per_batch=small.classes_per_batch, images_per_class=small.images_per_class
    )
    return Plan(
        form="embedded",
        sampler=recipe.sampler if full_batch else sampler,
        iterations=last,
        snapshots=frozenset(every),
        evaluations=frozenset({0, *every}),
        train_classes=None if full_batch else small.train_classes,
        test_classes=None if full_batch else small.test_classes,
    )
