"""What a run says of itself in its first and last lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from paper_recipes import derive
from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.scale import Plan, embedded

if TYPE_CHECKING:  # torch, which the first line does not wait for
    from paper_recipes.runner.engines.processes import Replicas

NOT_COMPARABLE = "FAST: TF32, autotuned and compiled kernels. Not comparable with any other run; there is no verdict."


def letters(
    recipe: Recipe,
    iterations: int | None = None,
    *,
    full_batch: bool = False,
    smoke: bool = False,
    strict: bool = True,
    double: bool = False,
    seeded: bool = False,
) -> Plan:
    """The scale of the letters form with these options of `run`."""
    plan = embedded(recipe, iterations, full_batch=full_batch, smoke=smoke, seeded=seeded)
    return replace(plan, fast=not strict, double=double)


def banner(recipe: Recipe, scale: Plan, processes: Replicas | None = None) -> str:
    """Which recipe at which scale; a line more for what makes the run another one than the recipe says. None: one process."""
    lines = [_form(recipe, scale.form)]
    if scale.fast:
        lines.append(NOT_COMPARABLE)
    if processes is not None and processes.world > 1:
        lines.append(f"{processes.world} processes, --replicas {processes.semantics}: {batch(scale, processes)}.")
    return "\n".join(lines)


def _form(recipe: Recipe, form: str) -> str:
    if form == "own":
        return (
            f"{recipe.name} on OWN pictures, not the official {recipe.dataset.upper()}: the recipe's code path and settings, "
            "batch and length as far as the data goes; there is no published value to compare with."
        )
    if form == "full":
        kind = "the frozen recipe" if not recipe.derived_from else f"in full, {recipe.deviations[0]}"
        return f"{recipe.name}: {kind}, fingerprint {recipe.fingerprint()[:16]}"
    derived = f" {recipe.deviations[0]}." if recipe.derived_from else ""
    unused = derive.not_embedded(recipe)
    if unused:
        derived += f" The letters form has its own scale: set embedded.* instead of {', '.join(unused)}."
    return (
        f"{recipe.name}:{derived} LETTERS form, small scale on letters from fonts; not a reproduction of the paper's number. "
        f"The full recipe needs --data (official {recipe.dataset.upper()} folder) and --weights ({recipe.weights})."
    )


def batch(scale: Plan, processes: Replicas) -> str:
    """The training batch, and how several processes share it."""
    facts = scale.sampler
    text = f"{facts.batch_size} = {facts.classes_per_batch} classes x {facts.images_per_class} images"
    if processes.world == 1:
        return text
    if processes.semantics == "caffe":
        return f"{text} for each of {processes.world} processes, gradients averaged"
    norm = "over all of it" if processes.sync_bn else "in each part by itself"
    return f"{text} in {processes.world} parts, one loss; BatchNorm {norm} (where it is not frozen)"
