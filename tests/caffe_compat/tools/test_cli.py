"""The command line: what it prints, which files it makes, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations, pairwise

import numpy as np
import pytest

from caffe_compat.formats.binaryproto import write_binaryproto
from caffe_compat.formats.caffemodel import read_caffemodel, read_layers, write_caffemodel
from caffe_compat.formats.prototxt import filter_net, read_net, read_solver
from caffe_compat.formats.solverstate import read_solverstate
from caffe_compat.matlab.lists import load_split
from caffe_compat.net import load_net
from caffe_compat.schema import message_class
from caffe_compat.tools.cli import main
from caffe_compat.tools.draw import draw_net
from caffe_compat.tools.draw_layout import boxes_of, place
from caffe_compat.tools.info import layer_costs


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns (exit code, stdout, stderr)."""

    def call(*arguments):
        code = main([str(a) for a in arguments])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def words(text):
    return " ".join(text.split())


def test_info_of_a_net(tiny, run):
    code, out, err = run("info", tiny / "osm_aaai19" / "train.prototxt", "--phase", "TRAIN")
    assert code == 0 and err == ""
    assert 'net "Tiny", dialect osm_aaai19, phase TRAIN, inputs: data 12x3x19x19, label 12x1x1x1' in out
    # 6 filters of 3x3x3 and 6 biases; 10x10 positions, 12 samples
    assert f"conv1/3x3_s2 Convolution data conv1/3x3_s2 12x6x10x10 168 {12 * 600 * 27:,}" in words(out)
    assert "outputs: cls_loss, cls2_loss, loss" in out


def test_costs_counted_by_hand():
    text = """
    input: "x" input_dim: 2 input_dim: 4 input_dim: 8 input_dim: 8
    layer { name: "c" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 6 kernel_size: 3 pad: 1 group: 2 weight_filler { type: "xavier" } } }
    layer { name: "d" type: "Deconvolution" bottom: "c" top: "d"
            convolution_param { num_output: 3 kernel_size: 2 stride: 2 bias_term: false } }
    layer { name: "f" type: "InnerProduct" bottom: "d" top: "f" inner_product_param { num_output: 5 } }
    """
    parameters, macs = layer_costs(load_net(text))
    assert parameters == [6 * 2 * 9 + 6, 6 * 3 * 4, 5 * 3 * 256 + 5]
    assert macs == [2 * 6 * 64 * 2 * 9, 2 * 6 * 64 * 3 * 4, 2 * 5 * 3 * 256]


def test_bn_inception_costs_what_is_known_of_it(reference):
    net = load_net(
        reference / "prototxt/rll_cvpr19/SOP_GoogLeNet_Ori_V05/deploy_prototxts/test_H.prototxt", phase="TEST"
    )
    batch = next(iter(net.inputs.values()))[0]
    # The literature's count for BN-Inception at 224 is about 2.0 billion multiply-adds.
    assert 1.9e9 < sum(layer_costs(net)[1]) / batch < 2.1e9


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("solver.prototxt", ["solver, dialect rll_tpami", "base_lr: 0.05", "n_temperature: 6"]),
        ("tiny_iter_3.caffemodel", ["conv2b Convolution 6x3x3x3 float32 162", "with blobs"]),
        ("tiny_h5_iter_3.caffemodel.h5", ["conv2b 6x3x3x3 float32 162"]),
        ("tiny_iter_3.caffemodel.solverstate", ["iteration 3, step 1, weights tiny_iter_3.caffemodel", "10 history"]),
        ("tiny_h5_iter_3.solverstate.h5", ["iteration 3, step 1"]),
    ],
)
def test_info_of_other_files(tiny, run, name, parts):
    code, out, _ = run("info", tiny / "rll_tpami" / name)
    assert code == 0
    for part in parts:
        assert part in words(out)


def test_info_of_means_and_lists(tiny, run, tmp_path):
    write_binaryproto(tmp_path / "mean.binaryproto", np.arange(12.0).reshape(3, 2, 2))
    assert "mean per channel: 1.5000, 5.5000, 9.5000" in run("info", tmp_path / "mean.binaryproto")[1]
    code, out, _ = run("info", tiny.parent / "mat" / "cub_train_box_v7.mat")
    assert code == 0 and "3 images, 2 classes, with boxes" in out


def test_info_of_arrays(tiny, run, tmp_path):
    run("convert", tiny / "rll_tpami" / "init.caffemodel", tmp_path / "a.npz")
    assert "conv2b 6x3x3x3 float32 162" in words(run("info", tmp_path / "a.npz")[1])
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    assert run("info", tmp_path / "a.npy")[1] == "array 3x2 float64\n"


def test_conversions_there_and_back(tiny, run, tmp_path):
    source = tiny / "rll_cvpr19" / "tiny_h5_iter_3.caffemodel.h5"
    weights = read_caffemodel(source)
    for step, name in enumerate(("a.caffemodel", "b.npz", "c.caffemodel", "d.caffemodel.h5")):
        code, out, err = run("convert", source, tmp_path / name)
        assert (code, err) == (0, "") and name in out, step
        source = tmp_path / name
    again = read_caffemodel(source)
    assert set(again) == set(weights)
    assert all(np.array_equal(a, b) for k in weights for a, b in zip(weights[k], again[k], strict=True))

    state = tiny / "rll_cvpr19" / "tiny_iter_3.caffemodel.solverstate"
    assert run("convert", state, tmp_path / "s.solverstate.h5")[0] == 0
    assert run("convert", tmp_path / "s.solverstate.h5", tmp_path / "s.solverstate")[0] == 0
    ours, theirs = read_solverstate(tmp_path / "s.solverstate"), read_solverstate(state)
    assert ours.learned_net == theirs.learned_net and ours.current_step == theirs.current_step
    assert all(np.array_equal(a, b) for a, b in zip(ours.history, theirs.history, strict=True))

    np.save(tmp_path / "m.npy", np.ones((3, 2, 2), np.float32))
    assert run("convert", tmp_path / "m.npy", tmp_path / "m.binaryproto")[0] == 0
    assert run("convert", tmp_path / "m.binaryproto", tmp_path / "n.npy")[0] == 0
    assert np.load(tmp_path / "n.npy").shape == (1, 3, 2, 2)

    mat = tiny.parent / "mat" / "sop_train_v6.mat"
    assert run("convert", mat, tmp_path / "x.mat", "--mat-version", "7.3")[0] == 0
    assert load_split(tmp_path / "x.mat") == load_split(mat)


def test_upgrade(run, tmp_path):
    (tmp_path / "v1.prototxt").write_text('layers { name: "a" type: RELU bottom: "x" top: "y" }')
    assert run("upgrade", tmp_path / "v1.prototxt", tmp_path / "v2.prototxt")[0] == 0
    assert read_net(tmp_path / "v2.prototxt") == read_net('layer { name: "a" type: "ReLU" bottom: "x" top: "y" }')
    (tmp_path / "s1.prototxt").write_text("base_lr: 1 solver_type: NESTEROV")
    assert run("upgrade", tmp_path / "s1.prototxt", tmp_path / "s2.prototxt")[0] == 0
    assert read_solver(tmp_path / "s2.prototxt").type == "Nesterov"
    old = message_class("bvlc", "NetParameter")()
    old.layers.add(name="c", type=4, blobs_lr=[2]).blobs.add(num=1, channels=1, height=1, width=1, data=[3])
    (tmp_path / "v1.caffemodel").write_bytes(old.SerializeToString())
    assert run("upgrade", tmp_path / "v1.caffemodel", tmp_path / "v2.caffemodel")[0] == 0
    [layer] = read_layers(tmp_path / "v2.caffemodel")
    assert (layer.name, layer.type, layer.blobs[0].tolist()) == ("c", "Convolution", [[[[3]]]])


def test_diff_says_where_a_net_goes_wrong(tiny, run, tmp_path):
    folder = tiny / "rll_tpami"
    with np.load(folder / "deploy_forward_f64.npz") as record:
        data = (np.random.RandomState(7).randn(2, 3, 19, 19) * 40).astype(np.float32)  # the recipe in manifest.json
        blobs = {key.removeprefix("blob:"): record[key] for key in record.files}
    np.savez(tmp_path / "record.npz", data=data.astype(np.float64), **blobs)
    common = ["--reference", tmp_path / "record.npz", "--dialect", "rll_tpami", "--weights"]
    code, out, _ = run("diff", folder / "deploy.prototxt", *common, folder / "init.caffemodel")
    assert code == 0 and "WRONG" not in out and "ok" in out
    weights = read_caffemodel(folder / "init.caffemodel")
    weights["conv2a"][0] *= 1.001
    write_caffemodel(tmp_path / "x.caffemodel", weights)
    code, out, _ = run("diff", folder / "deploy.prototxt", *common, tmp_path / "x.caffemodel", "--stop")
    rows = [line.split() for line in out.splitlines()[2:-1]]
    assert code == 1 and [row[0] for row in rows if "ok" not in row] == ["conv2a"]
    assert rows[-1][0] == "conv2a" and "WRONG" in rows[-1]


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_draw(tiny, run, tmp_path, suffix):
    target = tmp_path / f"net.{suffix}"
    code, out, err = run("draw", tiny / "osm_aaai19" / "train.prototxt", target, "--phase", "TRAIN")
    assert (code, err) == (0, "") and "22 layers in 23 boxes" in out
    data = target.read_bytes()
    assert data.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_boxes_do_not_overlap_and_links_go_down(reference):
    for file in sorted((reference / "prototxt").rglob("train.prototxt"))[::2]:
        net = filter_net(read_net(file, dialect=file.relative_to(reference / "prototxt").parts[0]), phase="TRAIN")
        boxes = boxes_of(net)
        links = place(boxes)
        assert sum(len(box.layers) for box in boxes) == len(net.layer)
        for a, b in combinations(boxes, 2):
            assert a.row != b.row or abs(a.x - b.x) > 0.999, (a.layers, b.layers)
        assert len(links) == sum(len(box.parents) for box in boxes)
        assert all(b[1] == a[1] + 1 for line in links for a, b in pairwise(line))


def test_draw_without_shapes_and_of_nothing(tmp_path):
    text = 'input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1 layer { name: "w" type: "Warp" bottom: "x" top: "y" }'
    assert "1 layers in 2 boxes" in draw_net(text, tmp_path / "x.svg")
    assert draw_net('name: "empty"', tmp_path / "y.svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["info", "{tmp}/bad.prototxt"],
            'error: {tmp}/bad.prototxt:2:1: Message type "caffe.NetParameter" has no field',
        ),
        (["info", "{tmp}/cut.caffemodel"], "error: {tmp}/cut.caffemodel: byte "),
        (["info", "{tiny}/rll_tpami/deploy.prototxt"], "one of: rll_cvpr19, rll_tpami, osm_aaai19"),
        (
            ["info", "{tmp}/unknown.prototxt"],
            'error: {tmp}/unknown.prototxt:2: layer "w": type "Warp" is not supported',
        ),
        (["info", "{tmp}/unfit.prototxt"], 'error: {tmp}/unfit.prototxt:3: layer "r" (ReLU): unknown bottom "z"'),
        (["info", "{tmp}/junk.npz"], "error: {tmp}/junk.npz: not an .npz of arrays"),
        (["info", "{tmp}/junk.pth"], "error: {tmp}/junk.pth: not a PyTorch weights file"),
        (["info", "{tmp}/junk.safetensors"], "error: {tmp}/junk.safetensors: not a safetensors file"),
        (["convert", "{tmp}/junk.npz", "{tmp}/x.caffemodel"], "error: {tmp}/junk.npz: not an .npz of arrays"),
        (["convert", "{tmp}/junk.npy", "{tmp}/x.binaryproto"], "error: {tmp}/junk.npy: not an .npy array"),
        (["convert", "{tiny}/rll_tpami/init.caffemodel", "{tmp}/no/x.npz"], "x.npz: there is no folder {tmp}/no"),
        (["convert", "{tiny}/rll_tpami/init.caffemodel", "{tmp}/x.pth"], "not the weights of a BN-Inception"),
        (
            ["diff", "{tiny}/rll_tpami/deploy.prototxt", "--reference", "{tmp}/junk.npz", "--dialect", "rll_tpami"],
            "error: {tmp}/junk.npz: not an .npz of arrays",
        ),
        (
            ["diff", "{tiny}/rll_tpami/deploy.prototxt", "--reference", "{tmp}", "--device", "moon"],
            "cannot compute on device 'moon'",
        ),
        (["convert", "{tmp}/cut.caffemodel", "{tmp}/x.mat"], "no conversion from .caffemodel"),
        (["draw", "{tiny}/rll_tpami/train.prototxt", "{tmp}/x.bmpx"], "unknown picture format"),
        (["info", "{tmp}/nowhere"], "does not exist"),
        (["info", "{tmp}/bad.prototxt", "--rename", "a"], "expected OLD=NEW"),
        (["inform"], "no command 'inform'. Did you mean 'info'?"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(tiny, run, tmp_path, arguments, message):
    (tmp_path / "bad.prototxt").write_text('name: "n"\nfoo: 1\n')
    data = 'input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1'
    (tmp_path / "unknown.prototxt").write_text(data + '\nlayer { name: "w" type: "Warp" bottom: "x" }')
    (tmp_path / "unfit.prototxt").write_text(data + '\nlayer {\n  name: "r" type: "ReLU" bottom: "z" top: "y" }')
    for suffix in ("npz", "npy", "pth", "safetensors"):
        (tmp_path / f"junk.{suffix}").write_bytes(b"junk")
    (tmp_path / "cut.caffemodel").write_bytes((tiny / "rll_tpami" / "init.caffemodel").read_bytes()[:1001])
    places = {"tmp": tmp_path, "tiny": tiny}
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*[a.format(**places) for a in arguments])
    assert code == 2 and out == ""
    assert message.format(**places) in err and "Traceback" not in err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_debug_shows_the_traceback(tmp_path):
    (tmp_path / "bad.prototxt").write_text("foo: 1")
    with pytest.raises(ValueError, match="no field"):
        main(["info", "--debug", str(tmp_path / "bad.prototxt")])


def test_as_a_module():
    call = subprocess.run([sys.executable, "-m", "caffe_compat", "--help"], capture_output=True, text=True, check=True)
    assert all(name in call.stdout for name in ("info", "convert", "export", "diff", "draw", "upgrade"))
