"""`evaluate` gives what the run itself measured; files that do not belong to the recipe are refused by name."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from helpers.onnx_files import write_onnx

from paper_recipes import registry
from paper_recipes.runner import evaluate, run, run_files
from paper_recipes.runner.data import run_data
from paper_recipes.runner.data.scale import embedded
from paper_recipes.runner.engines import checkpoint, trained_models
from paper_recipes.runner.reports import leaderboard
from paper_recipes.runner.scoring import saved


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("ms")
    run.run(registry.get("ms-cub"), run.Options(out=out, smoke=True, threads=1, iterations=1, report=False))
    return out


@pytest.mark.slow
def test_a_checkpoint_scores_as_its_run_did(trained, tmp_path):
    model = checkpoint.latest(trained / "checkpoints")
    options = evaluate.Options(model=model, out=tmp_path, smoke=True, threads=1)
    assert evaluate.score_model(registry.get("ms-cub"), options) == 0
    got = json.loads((tmp_path / "scores.json").read_text())
    assert got["hits"] == run_files.read(trained, "evaluations")[-1]["hits"]
    embeddings, labels = np.load(tmp_path / "query_embedding.npy"), np.load(tmp_path / "query_labels.npy")
    assert embeddings.shape == (got["queries"], 512) and labels.shape == (got["queries"],)
    # the same features by In-shop's rules
    options.protocol = "ms-inshop"
    assert evaluate.score_model(registry.get("ms-cub"), options) == 0
    assert "R@50" in json.loads((tmp_path / "scores.json").read_text())["metrics"]["embedding"]
    assert (tmp_path / "gallery_embedding.npy").exists()
    with pytest.raises(trained_models.ModelError, match="a checkpoint of ms-cub, not of dm-nca-cub as it is now"):
        trained_models.load(None, registry.get("dm-nca-cub"), model)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(trained_models.ModelError, match="no such file"):
        evaluate.score_model(registry.get("ms-cub"), evaluate.Options(model=tmp_path / "no.pth"))
    (tmp_path / "bad.safetensors").write_bytes(b"1234567890")
    with pytest.raises(trained_models.ModelError, match=r"bad\.safetensors: cannot read it"):
        trained_models.load(None, registry.get("ms-cub"), tmp_path / "bad.safetensors")
    torch.save({}, tmp_path / "x.pth")
    with pytest.raises(trained_models.ModelError, match=r"rll-sop is a Caffe recipe.*takes a \.caffemodel"):
        trained_models.load(None, registry.get("rll-sop"), tmp_path / "x.pth")


@pytest.mark.slow
def test_a_state_dict_scores_as_the_checkpoint_it_came_from(trained, tmp_path, capsys):
    """.pth bare and wrapped as training programs save it, and .safetensors; NMI and F1 beside."""
    from safetensors.torch import save_file

    saved = checkpoint.load(checkpoint.latest(trained / "checkpoints"))
    state = {name.removeprefix("net/"): value for name, value in saved.tensors.items() if name.startswith("net/")}
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "wrapped.pth")
    save_file(state, tmp_path / "bare.safetensors")
    want = run_files.read(trained, "evaluations")[-1]["hits"]
    for name in ("wrapped.pth", "bare.safetensors"):
        options = evaluate.Options(
            model=tmp_path / name, out=tmp_path / name[:4], smoke=True, threads=1, clustering=name == "wrapped.pth"
        )
        assert evaluate.score_model(registry.get("ms-cub"), options) == 0
        got = json.loads((tmp_path / name[:4] / "scores.json").read_text())
        assert got["hits"] == want and got["form"] == "embedded" and got["protocol"] is None
        assert got["fingerprint"] == registry.get("ms-cub").fingerprint()
        assert ("clustering" in got) == (name == "wrapped.pth")
    assert "embedding: NMI " in capsys.readouterr().out
    del state["head.fc.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"short\.pth: does not fit this network: head.fc.bias is missing \(1 missing"):
        options.model = tmp_path / "short.pth"
        evaluate.score_model(registry.get("ms-cub"), options)


@pytest.mark.slow
def test_a_derived_recipes_checkpoint_is_its_own(trained):
    model = checkpoint.latest(trained / "checkpoints")
    with pytest.raises(
        trained_models.ModelError, match=r"a checkpoint of ms-cub, not of ms-cub\+alpha=3.0 as it is now"
    ):
        trained_models.load(None, registry.get("ms-cub+alpha=3"), model)


@pytest.fixture
def official(monkeypatch):
    """A few letters that pass for the official Stanford Online Products."""

    def opened(recipe, root, image_root, *, training):
        letters = run_data.open_embedded(recipe, embedded(recipe, smoke=True), recipe.seed)
        return dataclasses.replace(letters, description={**letters.description, "name": recipe.dataset})

    monkeypatch.setattr(run_data, "open_folder", opened)


@pytest.mark.slow
def test_official_data_gets_a_verdict_an_exit_code_and_a_line_of_the_leaderboard(official, tmp_path, capsys):
    write_onnx(tmp_path / "m.onnx", 1536)
    recipe = registry.get("rll-sop")

    def score(name: str, recipe, **changes) -> int:
        options = evaluate.Options(tmp_path / "m.onnx", data=tmp_path, out=tmp_path / name, threads=1)
        return evaluate.score_model(recipe, dataclasses.replace(options, **changes))

    assert score("a", recipe) == 1  # mean colours are no embedding
    said = capsys.readouterr().out
    assert "not reproduced" in said and "below the band" in said and "run by CPUExecutionProvider" in said
    # Mean colours of black and white letters: all but a line in the space of colours, so close that rounding decides.
    assert re.search(r"concat: of 40 queries, [1-9]\d* at R@1 are decided by less than 1e-6: rounding", said)
    assert json.loads((tmp_path / "a" / "scores.json").read_text())["near"]["concat"]["R@1"] > 0
    assert (
        score("b", recipe, protocol="ms-sop") == 0
        and "no verdict: published values belong to" in capsys.readouterr().out
    )
    derived = registry.get("rll-sop+margin=1.0")
    assert score("c", derived) == 0
    assert "no verdict: rll-sop+margin=1.0 is held to no published value" in capsys.readouterr().out
    assert score("d", registry.derived(derived, (), judge=True)) == 1
    entries = {entry.folder.name: entry for entry in leaderboard.entries(tmp_path)}
    assert entries["a"].verdict is not None and not entries["a"].verdict.passed
    assert [entries[name].reason for name in "bcd"] == ["by the rules of ms-sop", *["derived from rll-sop"] * 2]


@pytest.mark.slow
def test_saved_embeddings_are_scored_again_by_other_rules(tmp_path, capsys):
    write_onnx(tmp_path / "m.onnx", 1536, cells=5)  # 75 colours: rounding decides no rank
    recipe = registry.get("rll-sop")
    first = evaluate.Options(tmp_path / "m.onnx", out=tmp_path / "first", threads=1, smoke=True)
    evaluate.score_model(recipe, first)
    (tmp_path / "m.onnx").unlink()
    again = evaluate.Options(tmp_path / "first", out=tmp_path / "again", threads=1, smoke=True, protocol="ms-sop")
    evaluate.score_model(recipe, again)
    old, new = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("first", "again"))
    assert list(new["metrics"]) == ["concat", "H", "L", "M"] and "R@1000" in new["metrics"]["H"]
    assert old["near"] == new["near"] == {}, "no count below rests on rounding"
    assert new["hits"]["M"]["R@1"] == old["hits"]["M"]["R@1"] and new["sha256"] == old["sha256"]
    assert "embeddings saved in" in capsys.readouterr().out and not list((tmp_path / "again").glob("*.npy"))

    def refused(message: str, recipe=recipe, **changes) -> None:
        with pytest.raises(saved.SavedError, match=message):
            evaluate.score_model(recipe, dataclasses.replace(again, **changes))

    refused("embeddings of rll-sop, not of rll-sop-m10 as it is now", registry.get("rll-sop-m10"))
    refused("labels that are not those of", smoke=False)
    refused("query_labels.npy: 40 labels that are not those of letters/query", protocol="query-gallery")
    refused("no scores.json; a folder must be one that `evaluate` wrote", model=tmp_path)
    (tmp_path / "first" / "query_L.npy").unlink()
    refused("holds no query_L.npy")
