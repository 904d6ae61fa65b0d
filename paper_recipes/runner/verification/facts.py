"""What a run directory says, and the recipe and the plan that it says it followed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner import run_files
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.run_files import RunError


@dataclass(frozen=True)
class Facts:
    out: Path
    record: dict[str, Any]
    recipe: Recipe
    plan: scales.Plan
    done: int  # iterations that the run says it has done


def read(out: Path) -> Facts:
    """Raises RunError where `out` holds no run of a recipe that is known here."""
    path = out / "run.json"
    record = run_files.record(out)
    try:
        recipe = registry.of_record(record)
        plan = scales.of_json(record["plan"])
        done = _done(out, plan, str(record["status"]))
    except registry.UnknownRecipeError as error:
        raise RunError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: not a run record of this version: {error!r}") from error
    return Facts(out, record, recipe, plan, done)


def _done(out: Path, plan: scales.Plan, status: str) -> int:
    """A run that was killed, is running or diverged says no number that its steps would have to meet."""
    if status == "finished":
        return plan.iterations
    stopped = re.fullmatch(r"stopped by the user at iteration (\d+)", status)
    return int(stopped[1]) if stopped else len(run_files.read(out, "steps"))


def options(record: dict[str, Any]) -> dict[str, Any]:
    """What the run's first start was given."""
    return record["history"][0]["options"]


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    """The lines of `name`.jsonl, but for a torn last one, as a killed process leaves it (where the run says that it finished,
    it is missing then). Raises ValueError naming a line that is no JSON object.
    """
    found = []
    lines = (out / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):  # torn, or the nothing after the last line
                break
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"{name}.jsonl: line {number} is not a JSON object: {line[:60]!r}")
        found.append(row)
    return found
