"""The nets built from tables equal the authors' files, message for message."""

from __future__ import annotations

import pytest

from caffe_compat.formats import prototxt
from paper_recipes.nets import osm_caa, rll
from paper_recipes.nets.messages import to_message
from paper_recipes.registry import get

SOP = "rll_cvpr19/SOP_GoogLeNet_Ori_V05"
CUB = "rll_cvpr19/CUB_V01"
TPAMI_SOP = "rll_tpami/SOP_Simp_25042020"
MARKET = "rll_tpami/Market1501_GooLeNetV2_V02_11042020"
OSM = {
    "osm-cub": "osm_aaai19/CUB_V01/M_WIDE_ASiamese_V42_e1",
    "osm-cub-bbox": "osm_aaai19/CUB_V01/M_WIDE_ASiamese_V42_e1",
    "osm-cars196": "osm_aaai19/CARS196_V01/M_WIDE_ASiamese_V62_e1",
    "osm-cars196-bbox": "osm_aaai19/CARS196_V01/M_WIDE_ASiamese_V62_e1",
    "osm-mars": "osm_aaai19/MARS_V01/M_WIDE_WF_WIDE_ASiamese_V20_e2",
}
CONCAT_AND_HEADS = ("concat", "H", "L", "M")

# (recipe, the authors' file, net of the recipe)
FILES = [
    ("rll-sop", f"{SOP}/180_T10_m12_pn04_step5000/train.prototxt", "train"),
    ("rll-sop-m10", f"{SOP}/180_T10_m10_pn04_step5000/train.prototxt", "train"),
    ("rll-cub-unedited", f"{CUB}/60_n1.4_pn0.2_tp0_tn10/train.prototxt", "train"),
    ("rll-tpami-sop", f"{TPAMI_SOP}/150_T10_pn04_v50/train.prototxt", "train"),
    ("rll-tpami-market1501", f"{MARKET}/180_pn04_tp0_tn10_onlyRLLv02/train.prototxt", "train"),
    *(("rll-sop", f"{SOP}/deploy_prototxts/test_{name}.prototxt", name) for name in CONCAT_AND_HEADS),
    *(("rll-cub", f"{CUB}/deploy_prototxts/test_{name}.prototxt", name) for name in CONCAT_AND_HEADS),
    *(
        ("rll-tpami-sop", f"{TPAMI_SOP}/deploy_prototxts/test_{name}_d64.prototxt", name)
        for name in (*CONCAT_AND_HEADS, "LH", "LM", "MH")
    ),
    *(("rll-tpami-market1501", f"{MARKET}/deploy_prototxts/test_{name}.prototxt", name) for name in CONCAT_AND_HEADS),
    *((recipe, f"{folder}/train.prototxt", "train") for recipe, folder in OSM.items()),
    *((recipe, f"{folder}/test_M.prototxt", "M") for recipe, folder in OSM.items()),
]


def differences(ours, theirs) -> list[str]:
    """Layers that differ, by name; layers are compared in the files' order."""
    found = [f"net fields: {ours.name}/{theirs.name}"] if ours.name != theirs.name else []
    if list(ours.input) != list(theirs.input) or list(ours.input_dim) != list(theirs.input_dim):
        found.append(
            f"inputs: {list(ours.input)} {list(ours.input_dim)} / {list(theirs.input)} {list(theirs.input_dim)}"
        )
    for a, b in zip(ours.layer, theirs.layer):
        if a != b:
            found.append(f"--- ours\n{a}--- theirs\n{b}")
    if len(ours.layer) != len(theirs.layer):
        found.append(f"{len(ours.layer)} layers, theirs has {len(theirs.layer)}")
    return found


@pytest.mark.parametrize(("recipe", "file", "net"), FILES)
def test_a_net_equals_the_released_file(reference, recipe, file, net):
    caffe = get(recipe).caffe
    description = caffe.train_net if net == "train" else caffe.test_nets[net]
    ours = to_message(description, "NetParameter", caffe.dialect)
    theirs = prototxt.read_net(reference / "prototxt" / file, dialect=caffe.dialect)
    assert not differences(ours, theirs)
    assert ours == theirs


@pytest.mark.parametrize(("head", "name"), [("HLM", "concat"), ("H", "H"), ("L", "L"), ("M", "M")])
def test_the_512_value_files_of_tpami_sop_differ_in_the_embeddings_names(reference, head, name):
    """They lie beside the 64-value family and belong to a model whose embeddings are called .../fc512."""
    crop = 227 if name == "concat" else 224
    ours = to_message(rll.deploy(head, dim=512, crop=crop, fc_suffix="512"), "NetParameter", "rll_tpami")
    file = reference / "prototxt" / TPAMI_SOP / f"deploy_prototxts/test_{name}.prototxt"
    assert ours == prototxt.read_net(file, dialect="rll_tpami")


@pytest.mark.parametrize(
    ("recipe", "folder"),
    [
        ("rll-sop", f"{SOP}/180_T10_m12_pn04_step5000"),
        ("rll-sop-m10", f"{SOP}/180_T10_m10_pn04_step5000"),
        ("rll-cub-unedited", f"{CUB}/60_n1.4_pn0.2_tp0_tn10"),
        ("rll-tpami-sop", f"{TPAMI_SOP}/150_T10_pn04_v50"),
        ("rll-tpami-market1501", f"{MARKET}/180_pn04_tp0_tn10_onlyRLLv02"),
        *OSM.items(),
    ],
)
def test_a_solver_equals_the_released_file(reference, recipe, folder):
    caffe = get(recipe).caffe
    assert get(recipe).source.folder == folder.split("/", 1)[1]
    ours = to_message(caffe.solver, "SolverParameter", caffe.dialect)
    assert ours == prototxt.read_solver(reference / "prototxt" / folder / "solver.prototxt", dialect=caffe.dialect)


def test_rll_cub_is_the_released_files_with_one_field_renamed(reference):
    """The reading that the recorded CVPR'19 trajectory was made with: negative_threshold is margin, no solver targets."""
    folder = reference / "prototxt" / CUB / "60_n1.4_pn0.2_tp0_tn10"
    caffe = get("rll-cub").caffe
    assert caffe.dialect == "rll_cvpr19"
    renamed = (folder / "train.prototxt").read_text().replace("negative_threshold:", "margin:")
    assert to_message(caffe.train_net, "NetParameter", "rll_cvpr19") == prototxt.read_net(renamed, dialect="rll_cvpr19")
    targets = ("negative_threshold", "pn_margin", "p_temperature", "n_temperature")
    lines = (folder / "solver.prototxt").read_text().splitlines()
    kept = "\n".join(line for line in lines if not line.strip().startswith(targets))
    ours = to_message(caffe.solver, "SolverParameter", "rll_cvpr19")
    assert ours == prototxt.read_solver(kept, dialect="rll_cvpr19")


def changed(a, b, path="") -> dict[str, tuple]:
    """Leaves of two nested descriptions that differ, by path."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(key for key in b if key not in a)]
        return {p: v for key in keys for p, v in changed(a.get(key), b.get(key), f"{path}/{key}").items()}
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return {p: v for i, pair in enumerate(zip(a, b)) for p, v in changed(*pair, f"{path}/{i}").items()}
    return {} if a == b else {path: (a, b)}


def layers(net) -> dict[str, dict]:
    return {layer["name"]: layer for layer in net["layer"]}


def test_inshop_is_market_with_the_stated_differences():
    """No released file at hand: the train net is the sibling without dropout but for batch, 128 values and T_n 12."""
    ours, sibling = get("rll-tpami-inshop").caffe, get("rll-tpami-market1501").caffe
    assert ours.dialect == sibling.dialect
    assert ours.train_net["input_dim"] == [66, 3, 227, 227, 66, 1, 1, 1]
    assert list(layers(ours.train_net)) == list(layers(sibling.train_net))
    embeddings = ("pool5/7x7_s1/fc", "loss1/fc/bn/sc/fc", "loss2/fc/bn/sc/fc")
    losses = ("WSiamese/loss_image", "WSiamese/loss_image1", "WSiamese/loss_image2")
    expected = {f"/{name}/inner_product_param/num_output": (128, 512) for name in embeddings}
    expected |= {f"/{name}/softmax_t_n_param/scale": (12, 10) for name in losses}
    assert changed(layers(ours.train_net), layers(sibling.train_net)) == expected
    assert set(ours.test_nets) == {"concat", "H", "L", "M", "HL", "HM", "ML"}
    for mine, theirs in (
        ("concat", "concat"),
        ("H", "H"),
        ("L", "L"),
        ("M", "M"),
        ("HL", "LH"),
        ("HM", "MH"),
        ("ML", "LM"),
    ):
        difference = changed(ours.test_nets[mine], get("rll-tpami-sop").caffe.test_nets[theirs])
        assert difference and set(difference.values()) == {(128, 64)}


def test_inshops_solver_is_tpami_sops_with_the_stated_differences():
    solver = get("rll-tpami-inshop").caffe.solver
    assert changed(solver, get("rll-tpami-sop").caffe.solver) == {
        "/net": ("../60_T10_pn04_v63/train.prototxt", "../150_T10_pn04_v50/train.prototxt"),
        "/stepvalue/1": (24000, 22000),
        "/n_temperature": (12, 10),
    }


def test_lpw_is_mars_with_the_stated_differences():
    """No released file at hand: persons and the width of the positives' Gaussian in the two pair losses."""
    ours, sibling = get("osm-lpw").caffe, get("osm-mars").caffe
    classifiers = ("loss1/classifier_1", "loss2/classifier_1", "loss3/classifier_1", "tracklet_feature/classifier")
    expected = {f"/{name}/inner_product_param/num_output": (1975, 625) for name in classifiers}
    expected |= {
        f"/{name}/gaussian_param/sigma": (0.6, 1.0) for name in ("WSiamese/loss_tracklet", "WSiamese/loss_image")
    }
    assert ours.train_net["input_dim"] == sibling.train_net["input_dim"]
    assert changed(layers(ours.train_net), layers(sibling.train_net)) == expected
    assert ours.test_nets == sibling.test_nets
    solver = changed(ours.solver, sibling.solver)
    assert solver.pop("/net")[0] == "../M_WIDE_WF_WIDE_ASiamese_V20_e5/train.prototxt"
    assert solver == {
        "/weight_decay": (1e-4, 5e-4),
        "/stepvalue": ([30000, 40000, 50000], [20000, 30000, 40000, 50000]),
    }


def test_a_changed_net_is_noticed(reference):
    """Mutation: one channel, one learning-rate factor, one missing layer."""
    file = reference / "prototxt" / SOP / "deploy_prototxts/test_concat.prototxt"
    theirs = prototxt.read_net(file, dialect="rll_cvpr19")
    for change in ({"dim": 511}, {"dim": 512, "fc_lr_mult": 1}):
        assert differences(to_message(rll.deploy("HLM", **change), "NetParameter", "rll_cvpr19"), theirs)
    shorter = rll.deploy("HLM", dim=512)
    del shorter["layer"][100]
    assert differences(to_message(shorter, "NetParameter", "rll_cvpr19"), theirs)


def test_a_changed_osm_net_is_noticed(reference):
    """Mutation: the width of the Gaussian, the attention's mean, the order of two layers."""
    file = reference / "prototxt" / OSM["osm-cub"] / "train.prototxt"
    theirs = prototxt.read_net(file, dialect="osm_aaai19")
    wider = osm_caa.train(batch=56, classes=100, sigma=0.6)
    easier, swapped = (osm_caa.train(batch=56, classes=100, sigma=0.8) for _ in range(2))
    layers(easier)["attention/prob3"]["gaussian_param"]["mean"] = 0.5
    swapped["layer"][-2:] = swapped["layer"][:-3:-1]
    for net in (wider, easier, swapped):
        assert differences(to_message(net, "NetParameter", "osm_aaai19"), theirs)
