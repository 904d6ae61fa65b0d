"""The shipped start: what is in it, how it is unpacked, and what happens to a cache that is damaged, full or not ours to write."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from caffe_compat import load_bn_inception
from caffe_compat.formats.caffemodel import read_caffemodel
from paper_recipes import registry
from paper_recipes.letters_start import packing
from paper_recipes.runner.data.run_data import DataError
from paper_recipes.runner.engines import letters_start, networks
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.evidence import weights_link
from ports.files import sha256

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    for name in packing.UNPACKED_SHA256:
        packing.unpacked(name, folder)
    return folder


def test_the_shipped_file_is_the_pinned_one_and_small():
    assert sha256(packing.FILE) == packing.SHA256
    assert packing.FILE.stat().st_size <= 12_000_000


def test_what_is_unpacked_is_the_same_everywhere(folder):
    assert {name: sha256(folder / name) for name in packing.UNPACKED_SHA256} == packing.UNPACKED_SHA256


def test_rounding_is_off_by_half_a_step_at_most():
    weights = np.random.default_rng(0).normal(size=(5, 4, 3, 3)).astype(np.float32)
    weights[2] = 0  # a dead filter stays one
    numbers, scale = packing.rounded(weights)
    assert numbers.dtype == np.int8 and np.abs(numbers).max() == 63
    # half a step, and the float32 of its product: 63 times the scale, rounded
    bound = scale.reshape(-1, 1, 1, 1) * (0.5 + 63 * 2**-23)
    assert (np.abs(packing.restored(numbers, scale) - weights) <= bound).all()
    assert not packing.restored(numbers, scale)[2].any()


def test_rounded_weights_stay_when_they_are_rounded_again():
    weights = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    once = packing.restored(*packing.rounded(weights))
    assert np.array_equal(packing.restored(*packing.rounded(once)), once)


def test_it_is_a_whole_caffemodel_of_the_authors_net(folder):
    """Trunk and both auxiliary heads up to their features, by the authors' names; BatchNorm with a long-trained net's divisor."""
    layers = read_caffemodel(folder / packing.CAFFE)
    engine = CaffeEngine(registry.get("rll-sop").the_caffe(), device=CPU, seed=123, weights=folder / packing.CAFFE)
    own = engine.solver.net.params
    assert set(layers) == {name for name in own if not name.endswith("/fc") or name in ("loss1/fc", "loss2/fc")}
    for name, blobs in layers.items():
        for got, want in zip(own[name], blobs, strict=True):
            assert np.array_equal(got.detach().numpy(), want.reshape(got.shape))
    assert {float(blobs[2][0]) for name, blobs in layers.items() if name.endswith("/bn")} == {1024.0}


@torch.no_grad()
def test_the_wide_form_gives_the_same_features(folder):
    """Of the images with the PyTorch recipes' own mean. What is left is the border of the first convolution, whose padding stands
    for another mean: on this white page 0.005 of the features; with the mean left alone, 0.18.
    """
    narrow = load_bn_inception(folder / packing.CAFFE).double()
    wide = load_bn_inception(folder / packing.PYTORCH).double()
    images = torch.full((1, 3, 227, 227), 138.0, dtype=torch.float64)
    images[:, :, 80:150, 90:140] = -60.0
    want, got = narrow(images), wide(images - torch.tensor([0.0, 0.0, 5.0]).view(3, 1, 1))
    assert float((got - want).norm() / want.norm()) < 0.02
    assert float((wide(images) - want).norm() / want.norm()) > 0.1  # the mean left alone


def test_pytorch_recipes_start_from_it(folder):
    recipe = registry.get("ms-cub")
    net = networks.EmbeddingNet(recipe.torch)
    loaded = networks.load_imagenet(net, folder / packing.PYTORCH)
    assert loaded.images == "B,G,R minus 104,117,128"


def test_which_recipe_starts_from_what():
    names = {name: letters_start.name(registry.get(name)) for name in registry.RECIPES}
    assert names["rll-sop"] == names["osm-mars"] == packing.CAFFE
    assert names["ms-cub"] == names["dm-nca-cub"] == names["xbm-bn-sop"] == packing.PYTORCH
    assert names["cls-cub"] is names["xbm-sop"] is None  # ResNet-50


def test_a_damaged_file_in_the_cache_is_unpacked_again(tmp_path):
    said = []
    path = packing.unpacked(packing.CAFFE, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert packing.unpacked(packing.CAFFE, tmp_path, say=said.append).read_bytes() == whole
    assert len(said) == 1 and "damaged" in said[0]
    assert [p.name for p in tmp_path.iterdir()] == [packing.CAFFE]


def test_a_damaged_installation_is_said(tmp_path, monkeypatch):
    (tmp_path / "symbols.npz").write_bytes(b"PK")
    monkeypatch.setattr(packing, "FILE", tmp_path / "symbols.npz")
    monkeypatch.setenv("DML_PORTS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"symbols\.npz: sha256 .* install it again"):
        letters_start.path(registry.get("rll-sop"))


def refusing(folder, number, monkeypatch):
    """As `unpacked` where nothing may be written below `folder`."""
    whole = packing.unpacked

    def unpacked(name, into, **options):
        if into.is_relative_to(folder):
            raise OSError(number, "refused", str(into))
        return whole(name, into, **options)

    monkeypatch.setattr(packing, "unpacked", unpacked)
    monkeypatch.setenv("DML_PORTS_CACHE", str(folder))


def test_a_cache_that_may_not_be_written_gives_way_to_a_temporary_folder(tmp_path, monkeypatch):
    refusing(tmp_path / "cache", errno.EROFS, monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = []
    path = letters_start.path(registry.get("rll-sop"), said.append)
    assert path.is_relative_to(tmp_path) and sha256(path) == packing.UNPACKED_SHA256[packing.CAFFE]
    assert len(said) == 1 and "may not be written" in said[0]


def test_a_full_cache_is_one_line(tmp_path, monkeypatch):
    refusing(tmp_path / "cache", errno.ENOSPC, monkeypatch)
    with pytest.raises(DataError, match="the letters' start cannot be unpacked: refused"):
        letters_start.path(registry.get("rll-sop"))


def test_the_link_knows_it_and_a_full_run_may_not_be_held_from_it():
    recipe = registry.get("rll-sop")
    facts = {"file": "symbols.caffemodel", "sha256": packing.UNPACKED_SHA256[packing.CAFFE]}
    assert weights_link.judge(recipe, facts)[0] == weights_link.LETTERS
    assert "not on ImageNet" in weights_link.objection(recipe, facts)
    assert weights_link.row(recipe, facts, of_run=True).verdict == "the letters' own start"
    other = {**facts, "sha256": "0" * 64, "recipes_images": "a", "own_images": "a"}
    assert weights_link.judge(recipe, other)[0] != weights_link.LETTERS
