"""tox makes an environment for each recipe, and no other: names and labels come from the lock file."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
from helpers.paths import REPO

from paper_recipes.registry import RECIPES


def tox(tmp_path, *args: str) -> subprocess.CompletedProcess:
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith("TOX")
    }  # not this run's own tox
    command = [sys.executable, "-m", "tox", *args, "-c", str(REPO), "--workdir", str(tmp_path)]
    return subprocess.run(command, env=outside, capture_output=True, text=True, timeout=120)


def names(tmp_path, *args: str) -> list[str]:
    done = tox(tmp_path, "list", "--no-desc", *args)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("reproduce-") for line in done.stdout.split() if line.startswith("reproduce-")]


def test_environments_are_the_registry(tmp_path):
    assert names(tmp_path) == list(RECIPES)
    assert names(tmp_path, "-m", "embedded-all") == list(RECIPES)


@pytest.mark.parametrize(
    ("label", "module"),
    [
        ("rll", "rll"),
        ("rll-tpami", "rll_tpami"),
        ("osm", "osm_caa"),
        ("ms", "ms"),
        ("cls", "classification"),
        ("dm", "deep_metric"),
    ],
)
def test_a_label_holds_the_recipes_of_a_paper(tmp_path, label, module):
    recipes = importlib.import_module(f"paper_recipes.{module}").RECIPES
    assert names(tmp_path, "-m", f"reproduce-{label}") == [recipe.name for recipe in recipes]


def test_an_unknown_recipe_is_refused(tmp_path):
    done = tox(tmp_path, "run", "-e", "reproduce-rll-nope")
    assert done.returncode != 0 and "reproduce-rll-nope" in done.stdout + done.stderr
