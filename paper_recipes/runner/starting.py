"""The weights that a run starts from: which file, and what is said and recorded of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.scale import Plan
from paper_recipes.runner.engines import letters_start
from paper_recipes.runner.engines import starting_weights as weights_file
from paper_recipes.runner.engines.engine import Engine
from paper_recipes.runner.engines.letters_start import NONE
from paper_recipes.runner.engines.processes import Replicas
from paper_recipes.runner.evidence import weights_link

__all__ = ["NONE", "path", "record", "wanted"]


def wanted(recipe: Recipe) -> str:
    """What is said where a recipe's weights are needed and none are given."""
    return f"{recipe.name} starts from {recipe.weights}: give its path with --weights"


def path(recipe: Recipe, given: Path | None, scale: Plan, processes: Replicas) -> Path | None:
    """The file that is named; on the letters, where none is, their own start."""
    if given == NONE:
        return None
    if given is not None or scale.form != "embedded":
        return given
    # The root unpacks, the others wait for it.
    found = letters_start.path(recipe, click.echo) if processes.root else None
    found = processes.from_root(found)
    if found is None and processes.root:
        click.echo(f"weights: {recipe.name} {letters_start.WITHOUT}")
    return found


def record(recipe: Recipe, weights: Path | None, engine: Engine) -> dict[str, Any] | None:
    """Record of the weights that the run starts from, after saying what was done with them."""
    if weights is None:
        return None
    facts = weights_file.record(recipe, weights, engine.import_report)
    said = f"{weights_link.judge(recipe, facts)[1]}; {facts['import']}; images: {facts['images']}"
    click.echo(f"weights: {said}")
    return facts
