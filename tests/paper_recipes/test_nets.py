"""The nets built from tables equal the authors' files, message for message."""

from __future__ import annotations

import pytest

from caffe_compat import prototxt
from paper_recipes.nets import rll
from paper_recipes.nets.messages import to_message
from paper_recipes.registry import get

SOP = "prototxt/rll_cvpr19/SOP_GoogLeNet_Ori_V05"


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


@pytest.mark.parametrize(
    ("recipe", "file", "net"),
    [
        ("rll-sop", "180_T10_m12_pn04_step5000/train.prototxt", "train"),
        ("rll-sop", "deploy_prototxts/test_concat.prototxt", "concat"),
        ("rll-sop", "deploy_prototxts/test_H.prototxt", "H"),
        ("rll-sop", "deploy_prototxts/test_L.prototxt", "L"),
        ("rll-sop", "deploy_prototxts/test_M.prototxt", "M"),
        ("rll-sop-m10", "180_T10_m10_pn04_step5000/train.prototxt", "train"),
    ],
)
def test_sop_nets_equal_the_released_files(reference, recipe, file, net):
    caffe = get(recipe).caffe
    description = caffe.train_net if net == "train" else caffe.test_nets[net]
    ours = to_message(description, "NetParameter", caffe.dialect)
    theirs = prototxt.read_net(reference / SOP / file, dialect=caffe.dialect)
    assert not differences(ours, theirs)
    assert ours == theirs


@pytest.mark.parametrize("recipe", ["rll-sop", "rll-sop-m10"])
def test_sop_solver_equals_the_released_file(reference, recipe):
    caffe = get(recipe).caffe
    folder = get(recipe).source.folder.rsplit("/", 1)[-1]
    ours = to_message(caffe.solver, "SolverParameter", caffe.dialect)
    assert ours == prototxt.read_solver(reference / SOP / folder / "solver.prototxt", dialect=caffe.dialect)


def test_a_changed_net_is_noticed(reference):
    """Mutation: one channel, one learning-rate factor, one missing layer."""
    theirs = prototxt.read_net(reference / SOP / "deploy_prototxts/test_concat.prototxt", dialect="rll_cvpr19")
    for change in ({"dim": 511}, {"dim": 512, "fc_lr_mult": 1}):
        assert differences(to_message(rll.deploy("HLM", **change), "NetParameter", "rll_cvpr19"), theirs)
    shorter = rll.deploy("HLM", dim=512)
    del shorter["layer"][100]
    assert differences(to_message(shorter, "NetParameter", "rll_cvpr19"), theirs)
