"""Model files of every kind into engines: what they compute, and which are refused by what words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.onnx_files import write_onnx
from helpers.tiny import recipe as tiny_recipe

from caffe_compat.tools.export import export_onnx
from paper_recipes import registry
from paper_recipes.runner.engines import trained_models
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.onnx_engine import OnnxEngine, OnnxError

CPU = torch.device("cpu")


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).normal(0, 50, size=(5, 3, 227, 227)).astype(np.float32))


@pytest.fixture(scope="module")
def tiny_engine():
    engine = CaffeEngine(tiny_recipe().caffe, device=CPU, seed=1)
    with torch.no_grad():
        for layer in engine.solver.net:
            if layer.layer_type == "BatchNorm":  # statistics of a trained net: without them it divides by nearly 0
                for blob, value in zip(layer.blobs, (0.5, 900.0, 1.0)):
                    blob.fill_(value)
    engine.begin_embedding()
    return engine


def test_an_exported_deploy_net_embeds_as_the_net_does(tiny_engine, images, tmp_path):
    export_onnx(tiny_engine.test_net, tmp_path / "tiny.onnx")
    engine, line = trained_models.onnx_engine(tiny_recipe(), tmp_path / "tiny.onnx", CPU)
    want, got = tiny_engine.embed(images)["fc"], engine.embed(images)["fc"]
    # float32 in another order of sums: the bound that the export itself is held to
    assert float((want - got).abs().max()) <= 1e-4 * float(want.square().mean().sqrt()) and want.abs().max() > 0
    assert "made for those of: Ranked List Loss, CVPR 2019" in line


def test_heads_are_columns_of_the_concatenation(images, tmp_path):
    recipe = registry.get("rll-sop")
    matrix = write_onnx(tmp_path / "x.onnx", 1536)
    engine, line = trained_models.onnx_engine(recipe, tmp_path / "x.onnx", CPU)
    found = engine.embed(images)
    assert tuple(found) == recipe.embeddings and "does not say which it takes" in line
    whole = images.mean((2, 3)).numpy() @ matrix
    for name, columns in {
        "concat": slice(0, 1536),
        "H": slice(0, 512),
        "L": slice(512, 1024),
        "M": slice(1024, 1536),
    }.items():
        np.testing.assert_allclose(found[name].numpy(), whole[:, columns], rtol=1e-4, atol=1e-4)


def test_a_file_of_fixed_batch_gives_the_same(images, tmp_path):
    write_onnx(tmp_path / "any.onnx", 512)
    write_onnx(tmp_path / "two.onnx", 512, batch=2)
    recipe = registry.get("ms-cub")
    any_, two = (
        OnnxEngine(recipe, tmp_path / name, device=CPU).embed(images)["embedding"] for name in ("any.onnx", "two.onnx")
    )
    assert two.shape == (5, 512) and torch.equal(any_, two)


def test_onnx_files_that_do_not_fit_are_refused(images, tmp_path):
    recipe = registry.get("ms-cub")
    write_onnx(tmp_path / "wide.onnx", 128)
    with pytest.raises(OnnxError, match=r"wide\.onnx: embeddings of 128 values; those of 'embedding' have 512"):
        OnnxEngine(recipe, tmp_path / "wide.onnx", device=CPU).embed(images)
    write_onnx(tmp_path / "small.onnx", 512, side=224)
    with pytest.raises(OnnxError, match="takes images 3 x 224 x 224; the recipe's are 3 x 227 x 227"):
        OnnxEngine(recipe, tmp_path / "small.onnx", device=CPU).embed(images)
    write_onnx(tmp_path / "two.onnx", 512, outputs=("a", "b"))
    with pytest.raises(OnnxError, match="which output is the embedding\\? None is called 'embedding': a, b"):
        OnnxEngine(recipe, tmp_path / "two.onnx", device=CPU)
    (tmp_path / "bad.onnx").write_bytes(b"no protobuf")
    with pytest.raises(OnnxError, match=r"bad\.onnx: onnxruntime cannot read it"):
        OnnxEngine(recipe, tmp_path / "bad.onnx", device=CPU)


@pytest.mark.parametrize(
    ("recipe", "file", "message"),
    [
        ("ms-cub", "x.caffemodel", "ms-cub is a PyTorch recipe, no Caffe net"),
        ("rll-sop", "x.pth", "rll-sop is a Caffe recipe, whose heads no PyTorch file holds"),
        ("rll-sop", "x.bin", r"unknown suffix; models are \.caffemodel"),
        ("rll-sop", "missing.onnx", "no such file"),
    ],
)
def test_a_kind_of_file_that_a_recipe_has_no_use_for(recipe, file, message, tmp_path):
    if not file.startswith("missing"):
        (tmp_path / file).write_bytes(b"x")
    with pytest.raises(trained_models.ModelError, match=message):
        trained_models.check(registry.get(recipe), tmp_path / file)


def test_a_caffemodel_of_the_net_loads_and_another_nets_is_refused(tiny_engine, images, tmp_path):
    recipe = tiny_recipe()
    tiny_engine.solver.net.save_caffemodel(tmp_path / "tiny.caffemodel")
    fresh = CaffeEngine(recipe.caffe, device=CPU, seed=2)
    line = trained_models.load(fresh, recipe, tmp_path / "tiny.caffemodel")
    fresh.begin_embedding()
    assert torch.equal(fresh.embed(images)["fc"], tiny_engine.embed(images)["fc"]) and "layers loaded" in line
    from caffe_compat.formats.caffemodel import read_caffemodel, write_caffemodel

    layers = read_caffemodel(tmp_path / "tiny.caffemodel")
    types = dict.fromkeys(layers, "Convolution")
    del layers["fc"]
    write_caffemodel(tmp_path / "trunk.caffemodel", layers, types=types)
    with pytest.raises(
        trained_models.ModelError, match="1 layers of the test net are not in it, 'fc' first; it is no trained model"
    ):
        trained_models.load(fresh, recipe, tmp_path / "trunk.caffemodel")


@pytest.mark.slow
def test_a_trained_net_that_shares_trunk_and_middle_head_is_told_apart(tmp_path):
    """An RLL model holds every layer of OSM's test net; scored there it would give numbers that mean nothing."""
    rll = CaffeEngine(registry.get("rll-sop").caffe, device=CPU, seed=1)
    rll.solver.net.save_caffemodel(tmp_path / "rll.caffemodel")
    recipe = registry.get("osm-cub")
    engine = CaffeEngine(recipe.caffe, device=CPU, seed=1)
    assert set(engine.test_net.params) <= set(rll.solver.net.params)
    with pytest.raises(
        trained_models.ModelError, match="no 'loss1/classifier_1', which osm-cub trains, but 'loss1/fc/bn/sc/fc'"
    ):
        trained_models.load(engine, recipe, tmp_path / "rll.caffemodel")
    with pytest.raises(ValueError, match=r"pool5/7x7_s1/fc.*shape"):  # the same layers, 64 values a head
        tpami = registry.get("rll-tpami-sop")
        trained_models.load(CaffeEngine(tpami.caffe, device=CPU, seed=1), tpami, tmp_path / "rll.caffemodel")
