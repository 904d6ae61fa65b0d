"""Every recipe takes its whole path for two steps on a handful of embedded letters (the chain of evidence left out)."""

from __future__ import annotations

import math

import pytest

from paper_recipes import registry
from paper_recipes.runner import run, train


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.RECIPES)
def test_two_steps(name, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "report", lambda folder: "left out")
    recipe = registry.get(name)
    assert run.run(recipe, run.Options(out=tmp_path, smoke=True, threads=1)) == 0
    steps, evaluations = train.read(tmp_path, "steps"), train.read(tmp_path, "evaluations")
    assert [row["iteration"] for row in steps] == [1, 2] and [row["iteration"] for row in evaluations] == [0, 1, 2]
    assert all(math.isfinite(value) for row in steps for value in row["losses"].values())
    assert all(tuple(row["metrics"]) == recipe.embeddings for row in evaluations)
