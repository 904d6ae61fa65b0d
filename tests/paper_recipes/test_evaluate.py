"""`evaluate` gives what the run itself measured; files that do not belong to the recipe are refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from paper_recipes import registry
from paper_recipes.runner import checkpoint, models, run, score_model, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("ms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "report", lambda folder: "left out")
        run.run(registry.get("ms-cub"), run.Options(out=out, smoke=True, threads=1, iterations=1))
    return out


@pytest.mark.slow
def test_a_checkpoint_scores_as_its_run_did(trained, tmp_path):
    model = checkpoint.latest(trained / "checkpoints")
    options = score_model.Options(model=model, out=tmp_path, smoke=True, threads=1)
    assert score_model.score_model(registry.get("ms-cub"), options) == 0
    got = json.loads((tmp_path / "scores.json").read_text())
    assert got["hits"] == train.read(trained, "evaluations")[-1]["hits"]
    embeddings, labels = np.load(tmp_path / "query_embedding.npy"), np.load(tmp_path / "query_labels.npy")
    assert embeddings.shape == (got["queries"], 512) and labels.shape == (got["queries"],)
    # the same features by In-shop's rules
    options.protocol = "ms-inshop"
    assert score_model.score_model(registry.get("ms-cub"), options) == 0
    assert "R@50" in json.loads((tmp_path / "scores.json").read_text())["metrics"]["embedding"]
    assert (tmp_path / "gallery_embedding.npy").exists()
    with pytest.raises(models.ModelError, match="a checkpoint of ms-cub, not of dm-nca-cub as it is now"):
        models.load(None, registry.get("dm-nca-cub"), model)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(models.ModelError, match="no such file"):
        score_model.score_model(registry.get("ms-cub"), score_model.Options(model=tmp_path / "no.pth"))
    (tmp_path / "bad.safetensors").write_bytes(b"1234567890")
    with pytest.raises(models.ModelError, match=r"bad\.safetensors: cannot read it"):
        models.load(None, registry.get("ms-cub"), tmp_path / "bad.safetensors")
    torch.save({}, tmp_path / "x.pth")
    with pytest.raises(models.ModelError, match=r"rll-sop is a Caffe recipe.*takes a \.caffemodel"):
        models.load(None, registry.get("rll-sop"), tmp_path / "x.pth")


@pytest.mark.slow
def test_a_state_dict_scores_as_the_checkpoint_it_came_from(trained, tmp_path, capsys):
    """.pth bare and wrapped as training programs save it, and .safetensors; NMI and F1 beside."""
    from safetensors.torch import save_file

    saved = checkpoint.load(checkpoint.latest(trained / "checkpoints"))
    state = {name.removeprefix("net/"): value for name, value in saved.tensors.items() if name.startswith("net/")}
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "wrapped.pth")
    save_file(state, tmp_path / "bare.safetensors")
    want = train.read(trained, "evaluations")[-1]["hits"]
    for name in ("wrapped.pth", "bare.safetensors"):
        options = score_model.Options(
            model=tmp_path / name, out=tmp_path / name[:4], smoke=True, threads=1, clustering=name == "wrapped.pth"
        )
        assert score_model.score_model(registry.get("ms-cub"), options) == 0
        got = json.loads((tmp_path / name[:4] / "scores.json").read_text())
        assert got["hits"] == want and got["form"] == "embedded" and got["protocol"] is None
        assert got["fingerprint"] == registry.get("ms-cub").fingerprint()
        assert ("clustering" in got) == (name == "wrapped.pth")
    assert "embedding: NMI " in capsys.readouterr().out
    del state["head.fc.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"short\.pth: does not fit this network: head.fc.bias is missing \(1 missing"):
        options.model = tmp_path / "short.pth"
        score_model.score_model(registry.get("ms-cub"), options)


@pytest.mark.slow
def test_a_derived_recipes_checkpoint_is_its_own(trained):
    model = checkpoint.latest(trained / "checkpoints")
    with pytest.raises(models.ModelError, match=r"a checkpoint of ms-cub, not of ms-cub\+alpha=3.0 as it is now"):
        models.load(None, registry.get("ms-cub+alpha=3"), model)
