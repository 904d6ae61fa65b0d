"""CaffeNet refuses what Caffe refuses: counts of bottoms and tops, labels, sizes, names, types, states.

The counts are those of BVLC's headers and of the forks' (ExactNum, Min and Max of bottom and top blobs).
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from caffe_compat.errors import CaffeFormatError, UnsupportedLayerError
from caffe_compat.formats.caffemodel import read_layers
from caffe_compat.layers import LAYERS
from caffe_compat.net import load_net
from caffe_compat.schema import dialects_of_type, message_class
from caffe_compat.solver import Solver
from caffe_compat.tools.cli import main

INPUTS = "".join(f'input: "{n}" input_shape {{ dim: 4 dim: 3 }} ' for n in "abcdefg") + (
    'input: "label" input_shape { dim: 4 } '
)
CLASSES = 3


def layer(kind: str, bottoms: str, tops: str, rest: str = "", name: str = "l") -> str:
    listed = "".join(f'bottom: "{b}" ' for b in bottoms.split()) + "".join(f'top: "{t}" ' for t in tops.split())
    return f'layer {{ name: "{name}" type: "{kind}" {listed}{rest} }} '


IP = "inner_product_param { num_output: 2 }"
#: type, bottoms, tops, dialect, rule in the error
COUNTS = [
    ("InnerProduct", "a b", "t", "bvlc", "takes exactly 1 bottom, 2 given"),
    ("InnerProduct", "a", "t u", "bvlc", "takes exactly 1 top, 2 given"),
    ("SoftmaxWithLoss", "a", "t", "bvlc", "takes exactly 2 bottoms, 1 given"),
    ("SoftmaxWithLoss", "a label b", "t", "osm_aaai19", "takes exactly 2 bottoms, 3 given"),
    ("SoftmaxWithLoss", "a label", "t u v", "bvlc", "takes 1 to 2 tops, 3 given"),
    ("DistanceWeightedValidPairLossV12", "a label b", "t", "rll_cvpr19", "takes exactly 2 bottoms, 3 given"),
    ("DistanceWeightedValidPairLossV12", "a label b", "t", "rll_tpami", "takes exactly 2 bottoms, 3 given"),
    ("DistanceWeightedValidPairLossV5", "a label", "t", "osm_aaai19", "takes exactly 3 bottoms, 2 given"),
    ("UnifiedWeightLoss", "a label", "t", "rll_tpami", "takes exactly 3 bottoms, 2 given"),
    ("WeightedSoftmaxWithLoss", "a label", "t", "osm_aaai19", "takes exactly 3 bottoms, 2 given"),
    ("ContrastiveLoss", "a b label c", "t", "bvlc", "takes exactly 3 bottoms, 4 given"),
    ("ContrastiveLoss", "a b label c d e", "t", "osm_aaai19", "takes 3 to 5 bottoms, 6 given"),
    ("TripletLoss", "a b", "t", "osm_aaai19", "takes 3 to 6 bottoms, 2 given"),
    ("Accuracy", "a", "t", "bvlc", "takes exactly 2 bottoms, 1 given"),
    ("ReLU", "a b", "t", "bvlc", "takes exactly 1 bottom, 2 given"),
    ("Eltwise", "a", "t", "bvlc", "takes at least 2 bottoms, 1 given"),
    ("Concat", "", "t", "bvlc", "takes at least 1 bottom, 0 given"),
    ("Scale", "a b c", "t", "bvlc", "takes 1 to 2 bottoms, 3 given"),
    ("Silence", "a", "t", "bvlc", "takes exactly 0 tops, 1 given"),
    ("EuclideanLoss", "a b c", "t", "bvlc", "takes exactly 2 bottoms, 3 given"),
    ("Parameter", "a", "t", "bvlc", "takes exactly 0 bottoms, 1 given"),
    ("Data", "a", "t", "bvlc", "takes exactly 0 bottoms, 1 given"),
]


@pytest.mark.parametrize("kind, bottoms, tops, dialect, rule", COUNTS, ids=[f"{c[0]} {c[1]}>{c[2]}" for c in COUNTS])
def test_number_of_bottoms_and_tops(kind, bottoms, tops, dialect, rule):
    rest = IP if kind == "InnerProduct" else ""
    with pytest.raises(CaffeFormatError) as caught:
        load_net(INPUTS + layer(kind, bottoms, tops, rest), dialect=dialect)
    assert f'layer "l" ({kind}) {rule}' in str(caught.value)


def test_one_top_per_bottom_of_a_convolution():
    text = 'input: "a" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 } ' + layer(
        "Convolution", "a a", "t", "convolution_param { num_output: 1 kernel_size: 1 }"
    )
    with pytest.raises(CaffeFormatError, match="one top for each bottom, 1 tops for 2 bottoms"):
        load_net(text)


@pytest.mark.parametrize("method, refused", [("MAX", False), ("AVE", True)])
def test_only_max_pooling_has_a_mask_top(method, refused):
    text = 'input: "a" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 } ' + layer(
        "Pooling", "a", "t mask", f"pooling_param {{ pool: {method} kernel_size: 2 }}"
    )
    if refused:
        with pytest.raises(CaffeFormatError, match="takes exactly 1 top, 2 given"):
            load_net(text)
    else:
        load_net(text)


def test_every_layer_type_states_its_counts():
    for kind, cls in LAYERS.items():
        for dialect in dialects_of_type(kind):
            message = message_class(dialect, "LayerParameter")(name="l", type=kind)
            counts = cls.counts_in(dialect, message)
            for least, most in (counts.bottoms, counts.tops):
                assert least >= 0 and (most is None or most >= least), kind


def test_a_loss_without_top_still_counts():
    net = load_net(INPUTS + layer("EuclideanLoss", "a b", ""))
    a, b = torch.ones(4, 3), torch.zeros(4, 3)
    assert net(a=a, b=b) == {}  # no other layer can see the blob, and it is no output
    assert net.loss().item() == 12 / 8


@pytest.mark.parametrize("kind", ["Flatten", "Reshape", "Split"])
def test_layers_that_cannot_work_in_place(kind):
    rest = "reshape_param { shape { dim: 12 } }" if kind == "Reshape" else ""
    with pytest.raises(CaffeFormatError, match="cannot work in place"):
        load_net(INPUTS + layer(kind, "a", "a", rest))


def test_a_top_may_replace_only_the_bottom_of_its_place():
    with pytest.raises(CaffeFormatError, match='top "b" is already made'):
        load_net(INPUTS + layer("Eltwise", "a b", "b"))


def test_more_param_than_blobs():
    with pytest.raises(CaffeFormatError, match=r'"l" \(InnerProduct\): 3 param for 2 blobs'):
        load_net(INPUTS + layer("InnerProduct", "a", "t", IP + " param {} param {} param {}"))


# -- labels

LABELLED = {
    "SoftmaxWithLoss": ("bvlc", "a label", ""),
    "HingeLoss": ("bvlc", "a label", ""),
    "MultinomialLogisticLoss": ("bvlc", "a label", ""),
    "Accuracy": ("bvlc", "a label", ""),
    "WeightedSoftmaxWithLoss": ("osm_aaai19", "a label w", ""),
    "ExtractProb": ("osm_aaai19", "a label", ""),
    "UnifiedWeightLoss": ("rll_tpami", "a label w", ""),
}


def _labelled(kind: str, rest: str = ""):
    dialect, bottoms, _ = LABELLED[kind]
    inputs = INPUTS + 'input: "w" input_shape { dim: 4 } '
    net = load_net(inputs + layer(kind, bottoms, "t", rest), dialect=dialect)
    extra = {"w": torch.full((4,), 0.25)} if "w" in bottoms.split() else {}
    scores = torch.softmax(torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(0)), 1)
    return lambda labels: net(a=scores, label=torch.tensor(labels), **extra)["t"]


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize(
    "labels, named", [([9, 9, 9, 9], "label 9 of sample 0"), ([0, 2, -1, 3], "label -1 of sample 2")]
)
def test_label_outside_the_classes(kind, labels, named):
    forward = _labelled(kind)
    forward([0, 1, 2, 2])
    with pytest.raises(ValueError, match=rf'layer "l" \({kind}\): {named} is outside the 3 classes 0..2'):
        forward(labels)


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "WeightedSoftmaxWithLoss", "UnifiedWeightLoss"])
def test_ignored_label_may_lie_outside(kind):
    forward = _labelled(kind, "loss_param { ignore_label: 255 }")
    assert torch.isfinite(forward([0, 1, 255, 2]))
    with pytest.raises(ValueError, match=r"label 254 of sample 3 .*\(ignore_label is 255\)"):
        forward([0, 1, 255, 254])


def test_index_beyond_the_rows_of_an_embed():
    net = load_net(
        'input: "i" input_shape { dim: 2 } ' + layer("Embed", "i", "t", "embed_param { num_output: 2 input_dim: 5 }")
    )
    with pytest.raises(ValueError, match=r'layer "l" \(Embed\): an index outside 0..4'):
        net(i=torch.tensor([1.0, 5.0]))


# -- names

TWINS = INPUTS + layer("InnerProduct", "a", "t", IP, "twin") + layer("InnerProduct", "t", "u", IP, "twin")


def test_layers_of_one_name_keep_their_own_blobs(tmp_path):
    net = load_net(TWINS)
    with torch.no_grad():
        for i, twin in enumerate(net):
            for blob in twin.blobs:
                blob.fill_(i + 1)
    net.save_caffemodel(tmp_path / "twins.caffemodel")
    assert [blobs.blobs[0].flat[0] for blobs in read_layers(tmp_path / "twins.caffemodel")] == [1, 2]
    again = load_net(TWINS)
    with pytest.warns(UserWarning, match='several layers are named "twin"; the net has 2: each keeps its own here'):
        again.load_caffemodel(tmp_path / "twins.caffemodel")
    for mine, theirs in zip(net, again):
        assert all(torch.equal(a, b) for a, b in zip(mine.blobs, theirs.blobs))
    with pytest.raises(CaffeFormatError, match="cannot hold two layers of one name: twin"):
        net.save_caffemodel(tmp_path / "twins.caffemodel.h5")
    assert not (tmp_path / "twins.caffemodel.h5").exists()


def test_single_layer_takes_the_last_of_its_name_as_caffe_does(tmp_path):
    net = load_net(TWINS.replace('bottom: "t"', 'bottom: "b"'))
    with torch.no_grad():
        for i, twin in enumerate(net):
            twin.blobs[0].fill_(i + 1)
    net.save_caffemodel(tmp_path / "twins.caffemodel")
    single = load_net(INPUTS + layer("InnerProduct", "a", "t", IP, "twin"))
    with pytest.warns(UserWarning, match="the last one in the file counts"):
        single.load_caffemodel(tmp_path / "twins.caffemodel")
    assert single.params["twin"][0].unique().tolist() == [2]


# -- states, dialects, data layers


def test_the_nets_own_stage_is_kept():
    text = 'state { stage: "deploy" level: 2 } ' + INPUTS
    text += layer("ReLU", "a", "r", 'include { stage: "deploy" min_level: 2 }')
    text += layer("TanH", "a", "s", 'include { stage: "other" }', "m")
    assert [x.layer_type for x in load_net(text)] == ["ReLU"]
    assert [x.layer_type for x in load_net(text, stages=["other"])] == ["ReLU", "TanH"]
    assert [x.layer_type for x in load_net(text, level=1)] == []


def test_a_layers_own_phase_stands_above_the_nets():
    net = load_net(INPUTS + layer("Dropout", "a", "t", "phase: TEST"), phase="TRAIN")
    assert torch.equal(net(a=torch.ones(4, 3))["t"], torch.ones(4, 3))


def test_solver_passes_its_dialect_on_to_the_net(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        INPUTS + layer("InnerProduct", "a", "t", IP) + layer("Normalization", "t", "n", "", "n")
    )
    rest = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3'
    (tmp_path / "solver.prototxt").write_text(rest + " pn_margin: 0.4")
    solver = Solver(tmp_path / "solver.prototxt")
    assert (solver.dialect, solver.net.dialect) == ("rll_tpami", "rll_tpami")


def test_data_layers_without_shapes_take_them_from_inputs():
    text = layer("HDF5Data", "", "data label", 'hdf5_data_param { source: "x" batch_size: 2 }', "d")
    text += layer("InnerProduct", "data", "t", IP) + layer("SoftmaxWithLoss", "t label", "loss", "", "s")
    with pytest.raises(UnsupportedLayerError, match=r'give them with load_net\(..., inputs=\{"data": \(...\), "label"'):
        load_net(text)
    net = load_net(text, inputs={"data": (2, 3, 4, 4), "label": (2,)})
    assert net.inputs == {"data": (2, 3, 4, 4), "label": (2,)}
    assert net(data=np.zeros((2, 3, 4, 4)), label=[0, 1])["loss"].item() > 0
    with pytest.raises(CaffeFormatError, match=r"inputs \['images'\] were given shapes, but the net's inputs are"):
        load_net(text, inputs={"data": (2, 3, 4, 4), "label": (2,), "images": (1,)})


@pytest.mark.parametrize(
    "kind, bottoms, told",
    [
        ("LSTM", "a", r"dialects that have it: bvlc, rll_cvpr19, rll_tpami, osm_aaai19\); it is not computed here"),
        ("ROIPooling", "a b", r"dialects that have it: rll_cvpr19, rll_tpami, osm_aaai19\); it is not computed here"),
        ("Python", "a label", r"\(dialects that have it: bvlc.*\); Python code is not run here$"),
        ("Nonsense", "a", r"no dialect here knows it\)$"),
    ],
)
def test_unsupported_types_name_the_dialects_that_have_them(kind, bottoms, told):
    with pytest.raises(UnsupportedLayerError, match=told) as caught:
        load_net(INPUTS + layer(kind, bottoms, "t"), dialect="osm_aaai19")
    assert "input" not in str(caught.value).replace("inputs", "")


def test_types_of_stock_caffe_that_the_forks_lack():
    with pytest.raises(UnsupportedLayerError, match="dialects that have it: bvlc"):
        load_net(INPUTS + layer("Swish", "a", "t"), dialect="osm_aaai19")


# -- sizes and empty things

HUGE = {
    "num_output": (INPUTS + layer("InnerProduct", "a", "t", "inner_product_param { num_output: 1000000000 }"), '"l"'),
    "kernel": (
        'input: "a" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } '
        + layer("Convolution", "a", "t", "convolution_param { num_output: 1 kernel_size: 1000000000 pad: 600000000 }"),
        '"l"',
    ),
    "pool kernel": (
        'input: "a" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } '
        + layer("Pooling", "a", "t", "pooling_param { kernel_size: 1000000000 }"),
        '"l"',
    ),
    "input_dim": ('input: "a" input_dim: 1000000000 input_dim: 3 input_dim: 227 input_dim: 227 ', '"a"'),
    "tiles": (INPUTS + layer("Tile", "a", "t", "tile_param { tiles: 1000000000 }"), '"l"'),
    "many layers": (
        'input: "a" input_shape { dim: 1 dim: 1 } '
        + "".join(
            layer(
                "InnerProduct", "a", f"t{i}", "inner_product_param { num_output: 2000000000 bias_term: false }", f"l{i}"
            )
            for i in range(200)
        ),
        "this machine has",
    ),
    "num_output 0": (INPUTS + layer("InnerProduct", "a", "t", "inner_product_param { num_output: 0 }"), '"l"'),
    "empty": ("   ", "empty"),
}


@pytest.mark.parametrize("case", HUGE)
def test_sizes_that_cannot_be(case, tmp_path, capsys, monkeypatch):
    text, named = HUGE[case]
    monkeypatch.setattr(torch.Tensor, "copy_", None)  # nothing is filled before the refusal
    if case == "many layers":
        # Only the running sum can refuse these; no byte is to be asked for.
        empty = torch.empty(0)
        monkeypatch.setattr(torch, "zeros", lambda shape, **k: empty.new_zeros(1).expand(shape))
    with pytest.raises(CaffeFormatError) as caught:
        load_net(text)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    assert main(["info", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_empty_string():
    with pytest.raises(CaffeFormatError, match="an empty string is neither a path nor prototxt text"):
        load_net("")


def test_wrong_filler_names_the_layer():
    with pytest.raises(CaffeFormatError, match=r'layer "l" \(InnerProduct\): unknown filler type .odd.'):
        load_net(
            INPUTS
            + layer("InnerProduct", "a", "t", 'inner_product_param { num_output: 2 weight_filler { type: "odd" } }')
        )


def test_losses_check_the_number_of_samples_at_build():
    text = 'input: "x" input_shape { dim: 4 dim: 3 } input: "y" input_shape { dim: 5 } '
    with pytest.raises(CaffeFormatError, match="differ in the number of samples"):
        load_net(text + layer("SoftmaxWithLoss", "x y", "t"))


def test_a_net_that_is_right_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_net(INPUTS + layer("InnerProduct", "a", "t", IP) + layer("SoftmaxWithLoss", "t label", "loss", "", "s"))
