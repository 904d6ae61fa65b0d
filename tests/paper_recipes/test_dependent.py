"""What a setting brings with it is computed anew, or the setting is refused with the reason."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from paper_recipes import derive, loss_defaults, registry
from paper_recipes.dependent import SettingError, epoch
from paper_recipes.nets import osm_caa
from paper_recipes.runner.data import scale
from ports import losses
from ports.datasets.split import Split


def lengths(recipe) -> tuple:
    phases = tuple((phase.iterations, phase.drops) for phase in recipe.torch.phases)
    return recipe.iterations, recipe.snapshot_every, recipe.evaluation.iterations[-1], phases


def test_a_recipes_epoch_is_what_its_own_lengths_were_made_of():
    for recipe in registry.RECIPES.values():
        updates = epoch(recipe)
        assert (updates is not None) == (recipe.name.startswith(("cls-", "dm-", "dm18-")))
        if updates is not None:
            assert recipe.iterations % updates == 0 and recipe.snapshot_every % updates == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 5,864 images in batches of 50 instead of 75: 117 updates an epoch, not 78
        ("cls-cub+classes_per_batch=2", (31 * 117, 117, 31 * 117, ((117, ()), (30 * 117, (15 * 117,))))),
        ("cls-cub+sampler.classes_per_batch=2", (31 * 117, 117, 31 * 117, ((117, ()), (30 * 117, (15 * 117,))))),
        ("cls-cub+batch=50", (31 * 117, 117, 31 * 117, ((117, ()), (30 * 117, (15 * 117,))))),
        ("cls-cub+epochs=21", (21 * 78, 78, 21 * 78, ((78, ()), (20 * 78, (15 * 78,))))),
        ("cls-cub+batch=50+epochs=21", (21 * 117, 117, 21 * 117, ((117, ()), (20 * 117, (15 * 117,))))),
        ("cls-cub+phases.2.iterations=100", (178, 78, 78, ((78, ()), (100, ())))),
        ("ms-cub+iterations=2000", (2000, 200, 2000, ((2000, (1199,)),))),
        ("dm-nca-cub+epochs=100", (600, 300, 600, ((600, ()),))),
    ],
)
def test_lengths_follow(name, expected):
    if name == "cls-cub+classes_per_batch=2":  # two keys end so: the letters form has one of its own
        with pytest.raises(SettingError, match="several such settings"):
            registry.get(name)
        return
    recipe = registry.get(name)
    assert lengths(recipe) == expected
    assert registry.get(recipe.name) == recipe
    assert sum(phase.iterations for phase in recipe.torch.phases) == recipe.iterations


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cls-cub+epochs=1", "nothing is left for the last phase, the others have 78 updates"),
        ("cls-cub+phases.2.iterations=100+iterations=300", "iterations 300: the phases hold 178 updates"),
        ("cls-cub+phases.2.drops=3000", "torch.phases.2.drops: the phase has 2,340 updates, 3,000 is past it"),
        ("cls-cub+batch=77", "batch=77: no multiple of the 25 images of a class"),
        ("cls-cub+batch=50+sampler.classes_per_batch=2", "sampler.classes_per_batch says the same"),
        ("cls-cub+epochs=2+iterations=100", "iterations says the same"),
        ("cls-cub+lr=0.1", "several such settings: torch.phases.1.lr, torch.phases.2.lr"),
        ("ms-cub+evaluation.iterations=5000", "the run has 3,000 iterations, 5,000 is past it"),
        ("ms-cub+epochs=3", "MsRandomIdentity has no epochs of a known length; the length of ms-cub is iterations"),
        ("dm-nca-cub+batch=1000", "a batch of 1000 images is larger than an epoch of cub"),
        ("rll-sop+crop=240", "images.crop 240: this Caffe net cannot take it; it can take 223 to 230"),
        ("ms-cub+crop=220", "images.crop 220: BNInception cannot take it"),
        ("osm-cub+images.size=299", "images.size 299: this Caffe net cannot take it"),
    ],
)
def test_what_cannot_be_reconciled_is_refused(name, words):
    with pytest.raises(SettingError) as error:
        registry.get(name)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("side", [222, 223, 230, 231, 240, 256])
def test_the_crops_are_those_that_the_network_takes(side):
    """The rule for a crop beside the network itself."""
    torch = pytest.importorskip("torch")
    from ports.backbones.bn_inception import BNInception

    name = f"ms-cub+crop={side}"
    with torch.no_grad():
        try:
            BNInception(pool="max").eval()(torch.zeros(1, 3, side, side))
            runs = True
        except RuntimeError:
            runs = False
    if runs:
        assert registry.get(name).images["crop"] == side
    else:
        with pytest.raises(SettingError):
            registry.get(name)


def test_loss_options_at_their_default_are_keys():
    keys = derive.keys(registry.get("dm-binomial-cub"))
    assert keys["torch.loss.hard_mining"] is False and keys["torch.loss.beta"] is None
    recipe = registry.get("dm-binomial-cub+hard_mining=true+beta=2")
    assert recipe.torch.loss["hard_mining"] is True and recipe.torch.loss["beta"] == 2.0
    assert registry.get("dm18-nca-cub+k=16").torch.loss["k"] == 16
    assert "hard_mining" not in registry.get("dm-binomial-cub+hard_mining=false").torch.loss  # as the recipe has it


def test_defaults_read_from_the_source_are_those_of_the_constructors():
    skipped = {"self", "variant", "num_classes", "embedding_dim"}
    for name in {recipe.torch.loss["class"] for recipe in registry.RECIPES.values() if recipe.torch}:
        parameters = inspect.signature(getattr(losses, name)).parameters.values()
        wanted = {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in skipped}
        assert loss_defaults.of(name) == wanted, name


def test_the_last_layer_of_a_caffe_net():
    recipe = registry.get("rll-sop+embedding.num_output=64+embedding.lr_mult=1")
    nets = {"train": recipe.caffe.train_net, **recipe.caffe.test_nets}
    for name, net in nets.items():
        sizes = {
            layer["name"]: layer["inner_product_param"]["num_output"]
            for layer in net["layer"]
            if layer["type"] == "InnerProduct"
        }
        assert {size for key, size in sizes.items() if key.endswith(("7x7_s1/fc", "sc/fc"))} == {64}, name
        assert all(size == 1024 for key, size in sizes.items() if key in ("loss1/fc", "loss2/fc")), name
    rates = [
        layer["param"][0]["lr_mult"]
        for layer in recipe.caffe.train_net["layer"]
        if layer["type"] == "InnerProduct" and layer["name"].endswith("/fc") and "loss" not in layer["name"][:4]
    ]
    assert rates == [1]
    assert "caffe.embedding.num_output" not in derive.keys(registry.get("osm-cub"))  # its features end in the trunk


def test_a_caffe_net_has_the_batch_that_the_sampler_gives():
    recipe = registry.get("rll-sop+batch=90")
    assert recipe.sampler.classes_per_batch == 30
    assert recipe.the_caffe().train_net["input_dim"] == [90, 3, 227, 227, 90, 1, 1, 1]
    assert registry.get("rll-sop").the_caffe().train_net["layer"] == recipe.the_caffe().train_net["layer"]


def test_a_net_of_tracklets_has_a_slice_for_each():
    """As the table that the authors' file was compared with writes it, for six persons; other settings of its layers stay."""
    recipe = registry.get("osm-mars+sampler.classes_per_batch=6")
    assert registry.get("osm-mars+batch=108") == recipe
    expected = osm_caa.train_tracklets(tracklets=12, frames=9, classes=625, sigma=1.0)
    assert recipe.the_caffe().train_net == expected
    assert scale.embedded(recipe).sampler.classes_per_batch == scale.embedded(recipe, smoke=True).train_classes == 6
    changed = registry.get("osm-lpw+batch=36+sampler.images_per_class=18+contrastive_loss_param.margin=1").the_caffe()
    layers = {layer["name"]: layer for layer in changed.train_net["layer"]}
    assert layers["WSiamese/loss_tracklet"]["contrastive_loss_param"]["margin"] == 1
    assert layers["WSiamese/loss_image"]["gaussian_param"]["sigma"] == 0.6
    assert [len(layers[name]["top"]) for name in ("slice_data", "slice_attention")] == [4, 4]
    assert layers["tracklet_feature"]["bottom"] == ["feature1", "feature2", "feature3", "feature4"]


def test_a_net_of_tracklets_is_not_given_fewer_persons_than_it_has_slices_for():
    two = Split([f"{i}.png" for i in range(4)], np.array([1, 1, 2, 2]), "mine/train")
    with pytest.raises(
        ValueError, match=r"a batch of osm-mars has 3 persons, mine/train has 2; `--set sampler\.classes_per"
    ):
        scale.own(registry.get("osm-mars"), two, None)
    assert scale.own(registry.get("osm-mars+sampler.classes_per_batch=2"), two, 1).sampler.batch_size == 36
