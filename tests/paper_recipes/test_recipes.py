"""Recipes are frozen facts: printable, fingerprinted, found by name without torch."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from golden import published
from paper_recipes import differences, lock, osm_caa, registry, rll, rll_tpami
from paper_recipes.runner.cli import cli
from paper_recipes.runner.data import scale
from ports.datasets.split import Split


def test_every_recipe_is_json_and_has_its_own_fingerprint():
    prints = {name: recipe.fingerprint() for name, recipe in registry.RECIPES.items()}
    assert len(set(prints.values())) == len(prints)
    for recipe in registry.RECIPES.values():
        json.dumps(recipe.canonical())


def test_prose_does_not_change_the_fingerprint_and_facts_do():
    recipe = registry.get("rll-sop")
    assert dataclasses.replace(recipe, title="another").fingerprint() == recipe.fingerprint()
    unheld = dataclasses.replace(recipe.embedded, band=None)
    assert dataclasses.replace(recipe, embedded=unheld).fingerprint() == recipe.fingerprint()
    assert dataclasses.replace(recipe, seed=124).fingerprint() != recipe.fingerprint()
    slower = dataclasses.replace(recipe.caffe, solver={**recipe.caffe.solver, "base_lr": 0.001})
    assert dataclasses.replace(recipe, caffe=slower).fingerprint() != recipe.fingerprint()


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(
        registry.UnknownRecipeError,
        match=r"no recipe '.*'\. Nearest: rll-sop, .*; `python -m paper_recipes list` shows all",
    ):
        registry.get("rll-sopp")


def test_the_full_plan_is_the_recipes_own():
    recipe = registry.get("rll-sop")
    full = scale.full(recipe)
    assert full.sampler.batch_size == 180 and full.iterations == 20000
    assert sorted(full.snapshots) == list(range(2000, 20001, 2000))
    assert {10000, 16000, 20000} <= full.evaluations and 0 not in full.evaluations


def test_the_embedded_plan_scales_only_the_scale():
    recipe = registry.get("rll-sop")
    small = scale.embedded(recipe)
    assert small.sampler.rule == recipe.sampler.rule and small.sampler.options == recipe.sampler.options
    assert small.sampler.batch_size < recipe.sampler.batch_size
    assert {0, small.iterations} <= small.evaluations and small.iterations in small.snapshots
    assert scale.embedded(recipe, 7).iterations == 7
    assert scale.embedded(recipe, full_batch=True).sampler == recipe.sampler


def test_a_net_with_classifiers_is_never_given_more_classes_than_it_has():
    for name in ("osm-cub", "osm-cars196", "osm-lpw"):
        recipe = registry.get(name)
        assert recipe.embedded.train_classes <= recipe.caffe.classes
        assert scale.embedded(recipe, full_batch=True).train_classes == recipe.embedded.train_classes
    many = Split([f"{i}.png" for i in range(101)], np.arange(101), "birds/train")
    with pytest.raises(ValueError, match="osm-cub has classifiers of 100 classes, birds/train has 101"):
        scale.own(registry.get("osm-cub"), many, None)


PUBLISHED = {"sop": "SOP", "cub": "CUB-200-2011", "cars196": "CARS196", "inshop": "In-Shop"}
PUBLISHED |= {"market1501": "Market-1501", "mars": "MARS", "lpw": "LPW"}


@pytest.mark.parametrize("module", [rll, rll_tpami, osm_caa], ids=["rll", "rll_tpami", "osm_caa"])
def test_expected_values_are_the_published_ones(module):
    """Each expected value stands in the table of published numbers for that paper, data set, pictures and dimension."""
    paper = {rll: "1903.03238", rll_tpami: "9385896", osm_caa: "1811.01459"}[module]
    for recipe in module.RECIPES:
        box = recipe.boxes or recipe.evaluation.protocol == "reid"  # persons come cut out
        rows = [
            row
            for row in published.rows(paper=paper, dataset=PUBLISHED[recipe.dataset])
            if row["bbox_cropped"] == box and row["method"].startswith(("RLL", "OSM+CAA"))
        ]
        width = {name: dimension(net) for name, net in recipe.caffe.test_nets.items()}
        for e in recipe.expected:
            fitting = [row for row in rows if row["embedding_dim"] == width[re.split(r" \(| re-", e.embedding)[0]]]
            assert any(row["metric"].get(e.metric) == e.value for row in fitting), (recipe.name, e)
            assert e.status in ("stated", "inferred", "ours") and e.provenance


def dimension(net) -> int:
    """Values of the embedding that a deploy net ends in."""
    makers = {top: layer for layer in net["layer"] for top in layer["top"]}
    last = makers["pool5/7x7_s1"]
    if last["type"] == "Reshape":
        return 1024
    parts = [makers[bottom] for bottom in last["bottom"]] if last["type"] == "Concat" else [last]
    return sum(part["inner_product_param"]["num_output"] for part in parts)


def test_logged_values_stand_in_the_line_that_is_named():
    """A provenance that names a log and an iteration: the published table has that line of that file with that value."""
    checked = 0
    for recipe in (*rll_tpami.RECIPES, osm_caa.OSM_LPW):
        for e in recipe.expected:
            file, _, rest = e.provenance.removeprefix("authors' log ").partition(",")
            iteration = re.search(r"iteration (\d+)", rest).group(1)
            query = re.search(
                r"(single query|(avg|max) pooling( \+ re-ranking)?)|$", rest
            ).group()  # one of the file's four protocols
            rows = [row for row in published.rows(kind="repo log") if row["source"].startswith(file)]
            rows = [row for row in rows if re.search(rf"iter {iteration}\b(?! \(out)", row["variant"])]
            rows = [row for row in rows if not query or f"{query}," in row["variant"]]
            assert len(rows) == 1 and rows[0]["metric"][e.metric] == e.value, (recipe.name, e)
            checked += 1
    assert checked == 21 + 42 + 8 + 4


def test_recipes_are_frozen():
    """Changed on purpose? `python -m paper_recipes lock` rewrites the lock file; say why in the commit."""
    assert lock.changes(registry.RECIPES) == []
    assert list(lock.read()) == list(registry.RECIPES)


def test_the_lock_notices_what_changed_came_and_went(tmp_path):
    recipe = registry.get("rll-sop")
    file = tmp_path / "fingerprints.json"
    lock.write({"rll-sop": recipe, "rll-cub": registry.get("rll-cub")}, file)
    now = {"rll-sop": dataclasses.replace(recipe, seed=124), "osm-cub": registry.get("osm-cub")}
    assert [line.split(",")[0] for line in lock.changes(now, file)] == [
        "osm-cub: new",
        "rll-cub: locked",
        "rll-sop: changed",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprints.json"]


def test_a_field_that_came_later_does_not_change_older_fingerprints():
    """rll-sop's canonical JSON has the fields it was first frozen with, though recipes can say more by now."""
    facts = registry.get("rll-sop").canonical()
    first = "name dataset caffe sampler images evaluation iterations snapshot_every weights embedded seed"
    assert set(facts) == set(first.split())
    assert set(facts["evaluation"]) == {"protocol", "ks", "batch_size", "iterations", "ties"}
    assert set(facts["caffe"]) == {"dialect", "train_net", "test_nets", "solver", "embedding_blob"}
    assert registry.get("osm-cub-bbox").canonical()["boxes"] is True
    assert registry.get("osm-cub-bbox").canonical()["caffe"]["classes"] == 100


def test_lock_and_diff_on_the_command_line():
    done = CliRunner().invoke(cli, ["lock", "--check"])
    assert done.exit_code == 0 and done.output == ""
    done = CliRunner().invoke(cli, ["show", "rll-cub", "--diff", "rll-cub-unedited"])
    assert done.exit_code == 0 and "rll_tpami" in done.output and "base_lr" not in done.output
    done = CliRunner().invoke(cli, ["show", "rll-cub", "--diff", "rll-cub"])
    assert "rll-cub and rll-cub compute the same thing." in done.output


def explain(ours: str, theirs: str) -> dict[str, tuple[str, str]]:
    rows = differences.explain(registry.get(ours), registry.get(theirs))
    return {setting: (a, b) for setting, a, b in rows}


def test_differences_of_two_recipes():
    assert explain("rll-sop", "rll-sop") == {}
    rows = explain("rll-sop", "rll-sop-m10")
    losses = "WSiamese/loss_image, WSiamese/loss_image1, WSiamese/loss_image2"
    assert rows.pop("caffe.solver.net")
    assert rows == {f"caffe.train_net: contrastive_loss_param_v2.margin of {losses}": ("1.2", "1.0")}
    assert explain("osm-cub", "osm-cub-bbox") == {"boxes": ("-", "True")}
    rows = explain("rll-tpami-sop", "rll-tpami-inshop")
    assert rows["caffe.train_net: layer drop_H, drop_L, drop_M"] == ("3 Dropout", "-")
    assert rows["caffe.test_nets.LH"] == ("a net of 321 layers", "-")


def test_differences_name_every_fact_that_changes_the_fingerprint():
    """Whatever changes the fingerprint gives a row, also where only the order of layers changes."""
    recipe = registry.get("osm-cub")
    net = recipe.caffe.train_net
    swapped = {**net, "layer": [*net["layer"][:-2], net["layer"][-1], net["layer"][-2]]}
    for other in (
        dataclasses.replace(recipe, seed=1),
        dataclasses.replace(recipe, boxes=True),
        dataclasses.replace(recipe, caffe=dataclasses.replace(recipe.caffe, train_net=swapped)),
        dataclasses.replace(recipe, images={**recipe.images, "size": 225}),
    ):
        assert other.fingerprint() != recipe.fingerprint()
        assert len(differences.explain(recipe, other)) == 1
