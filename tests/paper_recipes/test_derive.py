"""Derived recipes: found again by their name, of another fingerprint, held to nothing unless asked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from helpers.paths import REPO

from paper_recipes import derive, differences, registry
from paper_recipes.runner.cli import cli
from paper_recipes.runner.training import record


def rows(recipe, base: str) -> dict[str, tuple[str, str]]:
    return {setting: (new, old) for setting, new, old in differences.explain(recipe, registry.get(base))}


@pytest.mark.slow
def test_every_key_of_every_kind_of_recipe_derives_a_recipe_that_its_name_gives_back():
    checked = 0
    kinds = ("rll-sop", "rll-tpami-inshop", "osm-mars", "osm-cub-bbox", "ms-cub", "xbm-inshop", "cls-sop", "dm-nca-cub")
    for recipe in map(registry.get, kinds):
        for key, value in derive.keys(recipe).items():
            again = registry.get(f"{recipe.name}+{key}={derive.shown(value)}")  # the value it has
            assert registry.get(again.name) == again
            assert rows(again, recipe.name) == {}, key
            checked += 1
    assert checked > 200


@pytest.mark.parametrize(
    ("base", "setting", "name", "changed"),
    [
        ("rll-sop", "seed=5", "rll-sop+seed=5", {"seed": ("5", "123")}),
        ("rll-sop", "base_lr=2e-2", "rll-sop+base_lr=0.02", {"caffe.solver.base_lr": ("0.02", "0.01")}),
        ("ms-cub", "loss.alpha=3", "ms-cub+alpha=3.0", {"torch.loss.alpha": ("3.0", "2.0")}),
        ("ms-cub", "images.crop=224", "ms-cub+crop=224", {"images.crop": ("224", "227")}),
        ("ms-cub", "sampler.images_per_class=4", "ms-cub+sampler.images_per_class=4",
         {"sampler.images_per_class": ("4", "5")}),
        ("ms-cub", "evaluation.ks=1,10", "ms-cub+ks=1,10", {"evaluation.ks": ("[1, 10]", "[1, 2, 4, 8, 16, 32]")}),
        ("osm-cub", "attention/prob3.sigma=0.5", "osm-cub+attention/prob3.gaussian_param.sigma=0.5",
         {"caffe.train_net: gaussian_param.sigma of attention/prob3": ("0.5", "0.68")}),
        ("rll-sop", "WSiamese/loss_image1.margin=1",
         "rll-sop+WSiamese/loss_image1.contrastive_loss_param_v2.margin=1.0",
         {"caffe.train_net: contrastive_loss_param_v2.margin of WSiamese/loss_image1": ("1.0", "1.2")}),
        # T_p stands as the integer 0 in the file; its field is a float
        ("rll-sop", "softmax_t_p_param.scale=0.5", "rll-sop+caffe.loss.softmax_t_p_param.scale=0.5",
         {"caffe.train_net: softmax_t_p_param.scale of WSiamese/loss_image, WSiamese/loss_image1, WSiamese/loss_image2":
          ("0.5", "0")}),
    ],
)  # fmt: skip
def test_a_setting_changes_what_it_names_and_nothing_else(base, setting, name, changed):
    recipe = registry.derived(registry.get(base), (setting,))
    assert recipe.name == name and rows(recipe, base) == changed
    assert recipe.fingerprint() != registry.get(base).fingerprint()
    assert recipe.derived_from == base and recipe.expected == ()


def test_one_margin_is_the_other_released_setting():
    """The release has rll-sop's files at margin 1.0 as well: only the solver's path differs."""
    recipe = registry.get("rll-sop+margin=1.0")
    assert list(rows(recipe, "rll-sop-m10")) == ["caffe.solver.net"]


def test_settings_add_up_and_the_last_one_wins():
    recipe = registry.derived(registry.get("ms-cub+alpha=3"), ("lr=1e-4", "alpha=4"))
    assert recipe.name == "ms-cub+alpha=4.0+lr=0.0001" and recipe.torch.phases[0].lr == 1e-4
    assert registry.get("ms-cub+lr=1e+1+alpha=3").torch.phases[0].lr == 10.0  # the plus of an exponent
    both = registry.get("rll-sop+WSiamese/loss_image1.margin=1+loss.margin=0.9")
    margins = {row[0].split(" of ")[1]: row[1] for row in differences.explain(both, registry.get("rll-sop"))}
    assert margins == {"WSiamese/loss_image, WSiamese/loss_image2": "0.9", "WSiamese/loss_image1": "1.0"}
    assert registry.get(both.name) == both


def test_a_dimension_reaches_what_depends_on_it():
    xbm = registry.get("xbm-sop+out_dim=64").torch
    assert xbm.head["out_dim"] == xbm.memory["embedding_dim"] == 64
    assert registry.get("cls-cub+out_dim=64").torch.loss["embedding_dim"] == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ms-cub+alhpa=1", r"--set alhpa: ms-cub has no such setting\. Nearest: torch.loss.alpha\."),
        ("rll-sop+margn=1", r"Nearest: .*caffe.loss.contrastive_loss_param_v2.margin"),
        ("rll-sop+images_per_class=3", "several such settings: sampler.images_per_class, embedded.images_per_class"),
        ("ms-cub+iterations=1.5", r"iterations takes a whole number \(now 3000\), not '1.5'"),
        ("ms-cub+iterations=0", "iterations must be at least 1"),
        ("ms-cub+alpha=big", r"torch.loss.alpha takes a number \(now 2.0\), not 'big'"),
        ("ms-cub+alpha=nan", "takes a finite number"),
        ("ms-cub+frozen_bn=1", r"takes true or false \(now true\)"),
        ("ms-cub+protocol=mars", "evaluation.protocol is one of self, query-gallery, reid"),
        ("rll-sop+stepvalue=1,x", r"takes a list \(now 5000,10000,15000\), a whole number|takes a list .* a number"),
        ("osm-mars+tracklets_per_class=4", "no such setting"),  # the sampler names every person twice
        ("osm-mars+embedded.classes_per_batch=4", "no such setting"),  # the letters form runs the same net
        ("osm-mars+sampler.images_per_class=7", "sampler.images_per_class 7: the 2 tracklets .* a multiple of 2"),
        ("osm-mars+embedded.images_per_class=7", "embedded.images_per_class 7: the 2 tracklets .* a multiple of 2"),
        ("osm-mars+batch=50", "no multiple of the 18 images of a class"),
        ("ms-cub+loss.class=NCALoss", "no such setting"),
        ("cls-cub+backbone=bninception", "another one is another recipe .* has resnet50 alone"),
        ("cls-cub+model_name=bninception", "another one is another recipe"),
        ("ms-cub+epochs=3", "MsRandomIdentity has no epochs of a known length; the length of ms-cub is iterations"),
        ("rll-sop+lr=0.1", "the rate of rll-sop is its solver's: base_lr"),
        ("cls-cub+lr=0.1", "several such settings: torch.phases.1.lr, torch.phases.2.lr"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(name, message):
    with pytest.raises(derive.SettingError, match=message):
        registry.get(name)


def test_published_values_hold_a_derived_recipe_only_when_asked():
    recipe = registry.derived(registry.get("ms-cub+alpha=3"), (), judge=True)
    assert recipe.expected == registry.get("ms-cub").expected
    facts = record.run_record(recipe, form="full", seed=1, device="cpu", data={}, weights=None)
    assert facts["derived_from"] == "ms-cub" and registry.of_record(facts) == recipe
    plain = record.run_record(registry.get("ms-cub"), form="full", seed=1, device="cpu", data={}, weights=None)
    assert "derived_from" not in plain and registry.of_record(plain) == registry.get("ms-cub")


def test_the_embedded_form_names_what_it_replaces():
    recipe = registry.get("ms-cub+sampler.images_per_class=4+iterations=10+alpha=3+embedded.images_per_class=3")
    assert derive.not_embedded(recipe) == ["iterations", "sampler.images_per_class"]


@pytest.mark.slow
def test_the_command_line_shows_and_refuses():
    done = CliRunner().invoke(cli, ["show", "rll-sop", "--set", "margin=1.0"])
    assert done.exit_code == 0 and "rll-sop+margin=1.0" in done.output and "Held to no published value" in done.output
    done = CliRunner().invoke(cli, ["show", "rll-sop", "--set", "margin=1.0", "--json"])
    assert json.loads(done.output)["name"] == "rll-sop+margin=1.0"
    net = CliRunner().invoke(cli, ["show", "rll-sop", "--set", "margin=0.75", "--net", "train"]).output
    assert net.count("margin: 0.75") == 3 and net.count("margin: 1.2") == 0
    done = CliRunner().invoke(cli, ["show", "ms-cub", "--keys"])
    assert "torch.loss.alpha=2.0" in done.output.splitlines()
    code = [sys.executable, "-m", "paper_recipes", "run", "ms-cub", "--set", "stepvalue=3"]
    done = subprocess.run(code, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: --set stepvalue: ms-cub has no such setting")
    assert len(done.stderr.splitlines()) == 1


def test_a_value_that_the_file_format_does_not_take_is_one_error():
    from paper_recipes.nets.messages import to_message

    recipe = registry.get("rll-sop+gamma=1e60")  # a float field
    with pytest.raises(ValueError, match=r"no SolverParameter of rll_cvpr19: .*gamma"):
        to_message(recipe.caffe.solver, "SolverParameter", "rll_cvpr19")


@pytest.mark.slow
def test_a_derived_run_is_its_own_from_banner_to_report(tmp_path, capsys, monkeypatch):
    from paper_recipes.runner import run
    from paper_recipes.runner.engines import checkpoint

    monkeypatch.setattr(run, "chain", lambda recipe, record: [{"link": "left out"}])
    recipe = registry.get("ms-cub+alpha=3+sampler.images_per_class=4")
    assert run.run(recipe, run.Options(out=tmp_path, smoke=True, threads=1, iterations=1)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(
        "ms-cub+sampler.images_per_class=4+alpha=3.0: derived from ms-cub: sampler.images_per_class 5 -> 4"
    )
    assert "The letters form has its own scale: set embedded.* instead of sampler.images_per_class." in said[0]
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["recipe"] == recipe.name and facts["derived_from"] == "ms-cub" and facts["verdict"] is None
    assert "derived from ms-cub" in (tmp_path / "report.md").read_text()
    saved = checkpoint.load(checkpoint.latest(tmp_path / "checkpoints"))
    assert saved.state["fingerprint"] == recipe.fingerprint() != registry.get("ms-cub").fingerprint()
