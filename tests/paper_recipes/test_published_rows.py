"""Every published row of the source systems' own methods is held by a recipe or listed with a reason, and never both."""

from __future__ import annotations

import re

import pytest
from helpers.golden_cli import golden

from golden import published
from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner.scoring import curves
from ports import datasets

RECIPES = [*registry.RECIPES.values(), *registry.held()]


def holds(recipe: Recipe, row: dict) -> bool:
    """All of the row's values are expected values of one embedding of the recipe, or one line of the authors' log."""
    if not row["paper"].startswith(recipe.records.papers):
        return False
    if datasets.describe(recipe.dataset).title != row["dataset"]:
        return False
    if row["bbox_cropped"] != (recipe.boxes or recipe.evaluation.protocol == "reid"):
        return False
    expected = {name: {e.metric: e.value for e in recipe.expected if e.embedding == name} for name in recipe.embeddings}
    if any(row["metric"].items() <= values.items() for values in expected.values()):
        return True
    points = [point for points in curves.logged(recipe).values() for point in points]
    iteration = re.search(r"iter (\d+)(?! \(out)", row["variant"])
    return iteration is not None and any(
        point.iteration == int(iteration[1]) and point.metrics == row["metric"] for point in points
    )


def test_held_or_listed():
    own, listed = published.own(), [id(row) for row, _ in published.unheld()]
    held = {id(row) for row in own if any(holds(recipe, row) for recipe in RECIPES)}
    missing = [row for row in own if id(row) not in held and id(row) not in listed]
    assert not missing, [
        (row["paper"], row["method"], row["variant"], row["dataset"], row["metric"]) for row in missing
    ]
    both = [row for row, reason in published.unheld() if id(row) in held]
    assert not both, [(row["paper"], row["method"], row["variant"], row["dataset"]) for row in both]
    assert len(listed) == len(set(listed)), "a row has two reasons"
    assert len(held) + len(listed) == len(own)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_expected_value_stands_in_a_published_row(recipe):
    """Of that paper, data set, pictures and embedding width, where the row and the recipe name one."""
    title = datasets.describe(recipe.dataset).title
    box = recipe.boxes or recipe.evaluation.protocol == "reid"
    rows = [row for row in published.own() if row["dataset"] == title and row["bbox_cropped"] == box]
    rows = [row for row in rows if row["paper"].startswith(recipe.records.papers)]
    if recipe.torch is not None:
        width = recipe.torch.head["out_dim"]
        rows = [row for row in rows if row["embedding_dim"] in (None, width, f"{width} bits")]
    for e in recipe.expected:
        fitting = [row for row in rows if row["metric"].get(e.metric) == e.value]
        if recipe.evaluation.binary:
            fitting = [
                row for row in fitting if ("binary" in e.embedding) == str(row["embedding_dim"]).endswith("bits")
            ]
        assert fitting and e.status in ("stated", "inferred", "ours") and e.provenance, e


def test_the_table_has_no_idle_line():
    """A rule that matches no row is one of a row that is held by now, or a typing error."""
    reasons = {reason for _, reason in published.unheld()}
    assert reasons == {rule["reason"] for rule in published.rules()}


def test_a_row_that_nobody_holds_is_noticed(monkeypatch):
    monkeypatch.setattr(published, "rules", lambda: ())
    with pytest.raises(AssertionError):
        test_held_or_listed()


def test_the_command_line():
    done = golden("published", "--unheld")
    assert done.exit_code == 0
    assert "VGG-16" in done.output and f"{len(published.unheld())} of {len(published.own())} rows" in done.output


def test_derived_recipes_find_their_row_however_the_setting_is_written():
    rows = {recipe.name: recipe.expected[0].value for recipe in registry.held()}
    assert rows["rll-sop+margin=1.4"] == 76.2 and rows["ms-cub+out_dim=64"] == 57.4
    for name in ("rll-sop+margin=1.40", "rll-sop+contrastive_loss_param_v2.margin=1.4", "ms-cub+head.out_dim=64"):
        assert registry.get(name).expected
    for name in ("rll-sop+margin=1.3", "rll-sop+margin=1.4+seed=5", "rll-cub+margin=1.2"):
        assert not registry.get(name).expected
    assert all(name in registry.RECIPES for name, _ in registry.HELD)
