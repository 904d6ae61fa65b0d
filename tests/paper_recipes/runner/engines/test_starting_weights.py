"""ImageNet weights of every kind into the networks that start from them, and what is refused; all values are seeded."""

from __future__ import annotations

import hashlib

import pytest
import torch

from caffe_compat.bn_inception import save_bn_inception
from paper_recipes import registry
from paper_recipes.runner.engines import networks, starting_weights
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.starting_weights import WeightsError
from paper_recipes.runner.evidence import weights_link
from ports import images
from ports.backbones.bn_inception import BNInception
from ports.torchvision_compat import torchvision

CPU = torch.device("cpu")


def seeded(module: torch.nn.Module, seed: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point():  # variances positive
            value.copy_(torch.rand(value.shape, generator=generator) * 0.1 + ("var" in name))
    return module.state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def wide(folder):
    """BN-Inception as the PyTorch files have it, in both generations and with a classifier."""
    state = seeded(BNInception(pool="avg", num_classes=1000))
    save_bn_inception(state, folder / "bn_inception-new.pth")
    save_bn_inception(state, folder / "bn_inception-old.pth", generation="old")
    save_bn_inception(state, folder / "bn_inception.safetensors")
    return state


@pytest.fixture(scope="module")
def narrow(folder):
    """The authors' widths, as .caffemodel and converted."""
    state = seeded(BNInception(pool="avg", widths="caffe"))
    for name in ("googlenet_bn.caffemodel", "converted.pth", "converted.safetensors"):
        save_bn_inception(state, folder / name)
    return state


@pytest.fixture(scope="module")
def resnet(folder):
    state = seeded(torchvision.models.resnet50(weights=None))
    torch.save(state, folder / "resnet50.pth")
    cadene = {key.replace("fc.", "last_linear."): value for key, value in state.items() if "num_batches" not in key}
    torch.save(cadene, folder / "cadene.pth")
    return state


@pytest.mark.parametrize("file", ["bn_inception-new.pth", "bn_inception-old.pth", "bn_inception.safetensors"])
def test_both_generations_of_bn_inception_fill_the_backbone(wide, folder, file):
    net = networks.EmbeddingNet(registry.get("ms-cub").torch)
    loaded = networks.load_imagenet(net, folder / file)
    for name, value in net.backbone.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, wide[name]), name
    assert "the head starts from its seeded initialisation" in str(loaded) and loaded.images == starting_weights.PYTORCH


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["cls-cub", "xbm-sop"])
@pytest.mark.parametrize("file", ["resnet50.pth", "cadene.pth"])
def test_both_origins_of_resnet50_fill_the_backbone(resnet, folder, recipe, file):
    net = networks.EmbeddingNet(registry.get(recipe).torch)
    loaded = networks.load_imagenet(net, folder / file)
    own = net.backbone.state_dict()
    for name, value in resnet.items():
        if not name.startswith("fc.") and "num_batches" not in name:
            assert torch.equal(own[f"feature.{name}"], value), name
    assert loaded.images == starting_weights.IMAGENET


@pytest.fixture(scope="module")
def caffe_net():
    return CaffeEngine(registry.get("osm-cub").caffe, device=CPU, seed=1).solver.net


@pytest.mark.parametrize("file", ["googlenet_bn.caffemodel", "converted.pth", "converted.safetensors"])
def test_a_converted_file_fills_a_caffe_net_as_the_caffemodel_does(narrow, folder, caffe_net, file):
    with torch.no_grad():
        for blob in caffe_net.params["conv1/7x7_s2"]:
            blob.zero_()
    loaded = starting_weights.into_caffe(caffe_net, folder / file)
    assert torch.equal(caffe_net.params["conv1/7x7_s2"][0], narrow["conv1_7x7_s2.weight"])
    mean, variance, divisor = caffe_net.params["inception_4c/pool_proj/bn"]
    unit = "inception_4c_pool_proj"
    # the bias of a PyTorch convolution has moved into the mean
    torch.testing.assert_close(mean / divisor, narrow[f"{unit}_bn.running_mean"] - narrow[f"{unit}.bias"])
    torch.testing.assert_close(variance / divisor, narrow[f"{unit}_bn.running_var"])
    assert "207 layers loaded" in str(loaded) and "loss1/classifier_1" in str(
        loaded
    )  # 69 x 3; the heads keep their fillers


def test_images_are_the_recipes_and_the_weights_own_are_named(narrow, folder, caffe_net):
    recipe = registry.get("osm-cub")
    loaded = starting_weights.into_caffe(caffe_net, folder / "googlenet_bn.caffemodel")
    assert starting_weights.images(recipe, loaded.images).endswith(
        "B,G,R minus 104,117,123, which belong to the weights"
    )
    loaded = starting_weights.into_caffe(caffe_net, folder / "converted.pth")  # nothing in it says otherwise
    assert starting_weights.images(recipe, loaded.images).endswith("the weights' own would be B,G,R minus 104,117,128")
    facts = starting_weights.record(recipe, folder / "converted.pth", loaded)
    assert facts["sha256"] == hashlib.sha256((folder / "converted.pth").read_bytes()).hexdigest()
    word, sentence = weights_link.judge(recipe, facts)  # no sha256 of the authors' file is public
    assert word == "other images" and "belongs to other images than the recipe's" in sentence
    loaded = starting_weights.into_caffe(caffe_net, folder / "googlenet_bn.caffemodel")
    facts = starting_weights.record(recipe, folder / "googlenet_bn.caffemodel", loaded)
    assert weights_link.judge(recipe, facts)[0] == "no sha256 to compare with"
    assert weights_link.objection(recipe, facts) == ""


@pytest.mark.parametrize("recipe", registry.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_the_table_of_images_is_what_the_pipelines_compute(recipe):
    """A picture of one colour (r, g, b) = (10, 20, 30): the first plane is blue or red, minus the table's mean."""
    import numpy as np

    fields = {key: value for key, value in recipe.images.items() if key != "pipeline"}
    pipeline = getattr(images, recipe.images["pipeline"])(**fields)
    picture = np.empty((300, 300, 3), np.uint8)
    picture[:] = (10, 20, 30)
    found = np.asarray(pipeline.test(picture)).reshape(3, -1).mean(1)
    want = {
        starting_weights.CAFFE: [30 - 104, 20 - 117, 10 - 123],
        starting_weights.PYTORCH: [30 - 104, 20 - 117, 10 - 128],
        starting_weights.IMAGENET: [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225],
    }[starting_weights.PIPELINES[recipe.images["pipeline"]]]
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_a_name_proves_nothing(tmp_path):
    """A file that bears the first digits of its own sha256, or the recipe's name, is known by its content alone."""
    digest = hashlib.sha256(b"x").hexdigest()
    recipe = registry.get("cls-cub")
    for name in (f"resnet50-{digest[:8]}.pth", "resnet50-19c8e357.pth"):
        (tmp_path / name).write_bytes(b"x")
        facts = starting_weights.record(recipe, tmp_path / name, "loaded")
        word, sentence = weights_link.judge(recipe, facts)
        assert word == "another file" and "is not the recipe's file resnet50-19c8e357.pth" in sentence
        assert weights_link.objection(recipe, facts)
    honest = {**facts, "file": "renamed.pth", "sha256": "19c8e357" + digest[8:]}
    assert weights_link.judge(recipe, honest)[0] == "verified by sha256" and not weights_link.objection(recipe, honest)
    assert weights_link.row(recipe, honest, of_run=True).verdict == "verified by sha256"
    assert "bring resnet50-19c8e357.pth (sha256 19c8e357...)" in weights_link.row(recipe, None, of_run=False).verdict
    assert "seeded initial weights" in weights_link.row(recipe, None, of_run=True).verdict


@pytest.mark.parametrize("recipe", registry.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_names_its_file_with_the_digits_that_are_public(recipe):
    file = recipe.weights.split()[0]
    known = {
        "googlenet_bn.caffemodel": "",
        "bn_inception-52deb4733.pth": "52deb4733",
        "resnet50-19c8e357.pth": "19c8e357",
    }
    known["bn_inception-239d2248.pth"] = "239d2248"
    assert recipe.weights_sha256 == known[file]
    assert "weights_sha256" not in recipe.canonical()


def test_weights_of_another_network_are_refused_in_words(wide, narrow, resnet, folder, caffe_net):
    before = {name: [blob.clone() for blob in blobs] for name, blobs in caffe_net.params.items()}
    with pytest.raises(WeightsError, match=r"pool_proj.*start from googlenet_bn\.caffemodel"):
        starting_weights.into_caffe(caffe_net, folder / "bn_inception-new.pth")
    with pytest.raises(WeightsError, match="not the weights of a BN-Inception"):
        starting_weights.into_caffe(caffe_net, folder / "resnet50.pth")
    (folder / "empty.caffemodel").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"empty\.caffemodel"):
        starting_weights.into_caffe(caffe_net, folder / "empty.caffemodel")
    assert all(torch.equal(a, b) for name, blobs in caffe_net.params.items() for a, b in zip(blobs, before[name]))
    ms = networks.EmbeddingNet(registry.get("ms-cub").torch)
    with pytest.raises(WeightsError, match=r"pool_proj.*start from bn_inception-52deb4733\.pth"):
        networks.load_imagenet(ms, folder / "googlenet_bn.caffemodel")
    with pytest.raises(WeightsError, match="not the weights of a BN-Inception"):
        networks.load_imagenet(ms, folder / "resnet50.pth")
    cls = networks.EmbeddingNet(registry.get("cls-cub").torch)
    with pytest.raises(WeightsError, match=r"this recipe starts from a ResNet-50 .*; it is a BN-Inception"):
        networks.load_imagenet(cls, folder / "bn_inception-new.pth")
    with pytest.raises(WeightsError, match=r"not a (PyTorch weights|safetensors) file"):
        networks.load_imagenet(cls, folder / "googlenet_bn.caffemodel")
