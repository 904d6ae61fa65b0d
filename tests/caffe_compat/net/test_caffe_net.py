"""How CaffeNet connects layers: inputs, phases, in-place tops, sharing, losses, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffe_compat.errors import CaffeFormatError, DialectError, UnsupportedLayerError
from caffe_compat.formats.prototxt import read_net
from caffe_compat.net import load_net

INPUT = 'input: "data" input_shape { dim: 2 dim: 3 dim: 4 dim: 4 } '
LABEL = 'input: "label" input_shape { dim: 2 dim: 1 dim: 1 dim: 1 } '
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "gaussian" std: 0.1 } } } """


def layer(name: str, kind: str, bottom: str, top: str, rest: str = "") -> str:
    bottoms = " ".join(f'bottom: "{b}"' for b in bottom.split())
    tops = " ".join(f'top: "{t}"' for t in top.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} {tops} {rest} }} '


def build(text: str, **options):
    options.setdefault("dialect", "bvlc")
    return load_net(text, generator=torch.Generator().manual_seed(0), **options)


def images(n: int = 2, size: int = 4) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_outputs_are_the_tops_nobody_reads():
    net = build(INPUT + CONV + layer("relu", "ReLU", "conv", "conv") + layer("s", "Split", "conv", "a b"))
    outputs = net(data=images())
    assert list(outputs) == ["a", "b"]
    assert list(net.blobs) == ["data", "conv", "a", "b"]
    assert torch.equal(net.blobs["conv"], outputs["a"])


def test_silence_takes_an_output_away():
    net = build(INPUT + CONV + layer("s", "Split", "conv", "a b") + 'layer { name: "x" type: "Silence" bottom: "a" }')
    assert list(net(data=images())) == ["b"]


def test_batch_and_image_size_may_differ_from_the_declared():
    net = build(
        INPUT + CONV + layer("pool", "Pooling", "conv", "pool", "pooling_param { pool: AVE global_pooling: true }")
    )
    assert net(data=images(7, 9))["pool"].shape == (7, 5, 1, 1)


@pytest.mark.parametrize("source", ["text", "path", "message"])
def test_sources(tmp_path, source):
    text = INPUT + CONV
    (tmp_path / "net.prototxt").write_text(text)
    given = {"text": text, "path": tmp_path / "net.prototxt", "message": read_net(text)}[source]
    assert load_net(given)(data=images())["conv"].shape == (2, 5, 2, 2)


def test_message_of_another_dialect_is_refused():
    with pytest.raises(DialectError, match="bvlc"):
        load_net(read_net(INPUT + CONV), dialect="osm_aaai19")


@pytest.mark.parametrize("declared", ["input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 4", "layer"])
def test_other_ways_to_declare_inputs(declared):
    shape = "shape { dim: 2 dim: 3 dim: 4 dim: 4 }"
    text = (
        f'input: "data" {declared} '
        if declared != "layer"
        else layer("i", "Input", "", "data", f"input_param {{ {shape} }}")
    )
    assert build(text + CONV)(data=images())["conv"].shape == (2, 5, 2, 2)


DATA_LAYERS = {
    "Data": ("transform_param { crop_size: 4 } data_param { batch_size: 2 }", (2, 3, 4, 4)),
    "ImageData": ("image_data_param { batch_size: 2 new_height: 4 new_width: 5 is_color: false }", (2, 1, 4, 5)),
    "MemoryData": ("memory_data_param { batch_size: 2 channels: 6 height: 4 width: 5 }", (2, 6, 4, 5)),
}


@pytest.mark.parametrize("kind", DATA_LAYERS)
def test_data_layers_are_inputs(kind):
    """A train_val.prototxt with one data layer per phase: its tops are fed from outside."""
    rest, shape = DATA_LAYERS[kind]
    text = layer("train", kind, "", "data label", rest + " include { phase: TRAIN }")
    text += layer("test", kind, "", "data label", rest + " include { phase: TEST }")
    text += layer("ip", "InnerProduct", "data", "ip", "inner_product_param { num_output: 4 }")
    net = build(text + layer("loss", "SoftmaxWithLoss", "ip label", "loss"), phase="TRAIN")
    assert net.inputs == {"data": shape, "label": (2,)}
    net(data=torch.zeros(shape), label=torch.zeros(2))
    assert net.loss().item() == pytest.approx(np.log(4), rel=1e-6)


def test_phase_decides_layers_and_dropout():
    text = INPUT + layer("d", "Dropout", "data", "d", "dropout_param { dropout_ratio: 0.5 }")
    text += layer("only", "ReLU", "d", "only", "include { phase: TRAIN }")
    test, train = build(text), build(text, phase="TRAIN")
    assert list(test(data=images())) == ["d"] and list(train(data=images())) == ["only"]
    assert torch.equal(test.blobs["d"], images())
    zeros = (train.blobs["d"] == 0).float().mean()
    assert 0.2 < zeros < 0.8
    assert torch.equal(test.train()(data=images())["d"], images()), "nn.Module.train() is not the phase"


def test_labels_with_and_without_trailing_axes():
    text = INPUT + LABEL + layer("ip", "InnerProduct", "data", "ip", "inner_product_param { num_output: 4 }")
    net = build(text + layer("loss", "SoftmaxWithLoss", "ip label", "loss"), phase="TRAIN")
    net(data=images(), label=torch.tensor([1, 3]))
    first = net.loss()
    assert net.blobs["label"].shape == (2, 1, 1, 1)
    net(data=images(), label=np.array([1.0, 3.0]).reshape(2, 1, 1, 1))
    assert torch.equal(first, net.loss())


def test_loss_weights_and_propagate_down():
    text = INPUT + 'input: "goal" input_shape { dim: 2 dim: 3 dim: 4 dim: 4 } '
    text += layer("a", "Scale", "data", "a") + layer("b", "Scale", "data", "b")
    text += layer("l1", "EuclideanLoss", "a goal", "l1") + layer(
        "l2", "EuclideanLoss", "b goal", "l2", "loss_weight: 3"
    )
    text += layer("l3", "EuclideanLoss", "a b", "l3", "propagate_down: false propagate_down: true loss_weight: 0.5")
    text += layer("r", "Reduction", "b", "r", "loss_weight: 0.1")
    net = build(text, phase="TRAIN").double()
    x, goal = images().double(), torch.ones(2, 3, 4, 4).double()
    net(data=x, goal=goal)
    parts = net.losses()
    assert list(parts) == ["l1", "l2", "l3", "r"]
    expected = parts["l1"] + 3 * parts["l2"] + 0.5 * parts["l3"] + 0.1 * parts["r"]
    assert net.loss().item() == pytest.approx(expected.item(), rel=1e-7)  # 0.1 is float32 in the prototxt
    net.loss().backward()
    # Scales start at 1, so a = b = x: l1 gives a, l2 gives b (x 3), l3 nothing to a and nothing to b (a - b = 0).
    slope = ((x - goal) * x).sum((0, 2, 3)) / 2
    weight = float(np.float32(0.1))
    assert torch.allclose(net.params["a"][0].grad, slope, rtol=1e-12)
    assert torch.allclose(net.params["b"][0].grad, 3 * slope + weight * x.sum((0, 2, 3)), rtol=1e-12)
    net.zero_grad()
    net(data=x + 1, goal=goal)
    (net.losses()["l3"]).backward()
    assert net.params["a"][0].grad is None


def test_net_without_loss():
    net = build(INPUT + CONV)
    net(data=images())
    assert net.loss().item() == 0 and net.losses() == {}


def test_lr_mult_zero_needs_no_gradient():
    net = build(
        INPUT + CONV.replace("convolution_param", "param { lr_mult: 0 } param { lr_mult: 2 } convolution_param")
    )
    assert [b.tensor.requires_grad for b in net.learnable] == [False, True]
    assert [b.lr_mult for b in net.learnable] == [0, 2]


def shared(first: str, second: str) -> str:
    ip = "inner_product_param { num_output: 2 bias_term: false }"
    text = INPUT + layer("a", "InnerProduct", "data", "a", f'param {{ name: "w" {first} }} {ip}')
    return text + layer("b", "InnerProduct", "data", "b", f'param {{ name: "w" {second} }} {ip}')


def test_shared_multipliers_follow_caffe():
    (blob,) = build(shared("", "lr_mult: 3 decay_mult: 2")).learnable
    assert (blob.layer, blob.lr_mult, blob.decay_mult) == ("a", 3, 2)
    with pytest.raises(CaffeFormatError, match=r'"w" has lr_mult 3\.0 and 2\.0'):
        build(shared("lr_mult: 2", "lr_mult: 3"))
    with pytest.raises(CaffeFormatError, match='"w" has decay_mult'):
        build(shared("decay_mult: 1", "decay_mult: 0"))
    with pytest.raises(CaffeFormatError, match="has shape"):
        build(shared("", "").replace("num_output: 2", "num_output: 3", 1))


def test_shared_statistics_stay_shared_after_a_change_of_dtype():
    # bvlc drops the three `param` of a BatchNorm layer when it reads an old net; the forks keep them.
    bn = 'param { name: "m" } param { name: "v" } param { name: "n" }'
    text = INPUT + layer("a", "BatchNorm", "data", "a", bn) + layer("b", "BatchNorm", "data", "b", bn)
    net = build(text, phase="TRAIN", dialect="rll_cvpr19")
    net.double()
    net(data=images().double())
    assert net.params["a"][0] is net.params["b"][0]
    assert net.params["a"][2].item() == pytest.approx(1.999)
    assert [(b.layer, b.lr_mult) for b in net.learnable] == [("a", 1)] * 3


def test_in_place_relu_gives_the_same_gradient_as_a_separate_one():
    tail = layer("loss", "Reduction", "{0}", "loss", "reduction_param {{ operation: SUMSQ }} loss_weight: 1")
    grads = []
    for top in ("bn", "relu"):
        text = (
            INPUT
            + CONV
            + layer("bn", "BatchNorm", "conv", "n")
            + layer("sc", "Scale", "n", "bn", "scale_param { bias_term: true }")
        )
        net = build(
            text + layer("relu", "ReLU", "bn", top) + tail.replace("{{", "{").replace("}}", "}").replace("{0}", top),
            phase="TRAIN",
        )
        # In place it is one step with BatchNorm and Scale.
        assert [step.layer.layer_name for step in net.plan.steps if step.fused_relu] == ["bn"] * (top == "bn")
        net(data=images(4, 6))
        net.loss().backward()
        grads.append([p.grad for p in net.parameters()])
    assert len(grads[0]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*grads))


@pytest.mark.parametrize("reader", ["", "old", "conv's own"])
def test_a_convolutions_output_is_written_over_only_if_nobody_reads_it_again(reader):
    """One reader besides BatchNorm, or a caller who looks at the blobs, and the output keeps its values."""
    text = INPUT + CONV + (layer("old", "Power", "conv", "old") if reader == "old" else "")
    text += layer("bn", "BatchNorm", "conv", "n") + layer("sc", "Scale", "n", "bn", "scale_param { bias_term: true }")
    net = build(text + layer("relu", "ReLU", "bn", "bn"), phase="TRAIN")
    net.keep_blobs = reader == "conv's own"
    (step,) = [step for step in net.plan.steps if step.fused_relu]
    assert step.bottom_is_free == (reader != "old")
    tops = net(data=images(4, 6))
    want = net.plan.layers[0](images(4, 6))[0]
    for name, blob in {"conv": net.blobs.get("conv"), "old": tops.get("old")}.items():
        assert blob is None or torch.equal(blob, want), name
    assert (net.blobs.get("conv") is not None) == (reader == "conv's own")


NORMALISED = layer("bn", "BatchNorm", "conv", "n") + layer("sc", "Scale", "n", "s", "scale_param { bias_term: true }")


@pytest.mark.parametrize("kind", ["PReLU", "ELU", "ReLU"])
@pytest.mark.parametrize("rest", ["", "relu_param { negative_slope: 0.1 }"])
def test_only_a_plain_relu_is_one_step_with_batch_norm_and_scale(kind, rest):
    net = build(INPUT + CONV + NORMALISED + layer("act", kind, "s", "s", rest * (kind == "ReLU")), phase="TRAIN")
    assert any(step.fused_relu for step in net.plan.steps) == (kind == "ReLU" and not rest)
    top = net(data=images(4, 6))["s"]
    assert (top < 0).any() == (kind != "ReLU" or bool(rest))


@pytest.mark.parametrize("where", ["conv", "relu"])
def test_a_top_that_is_a_loss_keeps_its_value(where):
    """Every blob may have a loss weight: those of the convolution and of the ReLU count as in a net that keeps all blobs."""
    weighted = CONV.replace('top: "conv"', 'top: "conv" loss_weight: 2') if where == "conv" else CONV
    relu = layer("relu", "ReLU", "s", "s", "loss_weight: 2" if where == "relu" else "")
    losses, gradients = [], []
    for keep in (True, False):
        net = build(INPUT + weighted + NORMALISED + relu, phase="TRAIN")
        net.keep_blobs = keep
        net(data=images(4, 6))
        net.loss().backward()
        losses.append(net.loss().item())
        gradients.append(net.params["conv"][0].grad)
    want = 2 * (net.plan.layers[0](images(4, 6))[0] if where == "conv" else net.blobs["s"]).sum().item()
    assert losses == pytest.approx([want, want], rel=1e-5) and abs(want) > 0.1
    assert torch.equal(*gradients)


def test_in_place_layer_does_not_disturb_other_readers():
    """A layer that read the blob before an in-place layer replaced it keeps the old value."""
    text = INPUT + CONV + layer("old", "Power", "conv", "old") + layer("relu", "ReLU", "conv", "conv")
    net = build(text + layer("new", "Power", "conv", "new"))
    net(data=images())
    assert (net.blobs["old"] < 0).any() and (net.blobs["new"] >= 0).all()
    assert torch.equal(net.blobs["new"], net.blobs["old"].clamp(min=0))


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_batch_norm_and_scale_together_are_the_two_layers(phase):
    """The fused step against the same two layers kept apart by a second reader of BatchNorm's top."""
    text = (
        INPUT
        + layer("bn", "BatchNorm", "data", "bn")
        + layer("sc", "Scale", "bn", "sc", "scale_param { bias_term: true }")
    )
    fused, apart = build(text, phase=phase), build(text + layer("r", "Power", "bn", "r"), phase=phase)
    assert [len(n.plan.steps) for n in (fused, apart)] == [1, 3]
    for net in (fused.double(), apart.double()):
        with torch.no_grad():
            for i, blob in enumerate(b for b in net.learnable):
                blob.tensor.copy_(torch.linspace(0.5, 1.5, blob.tensor.numel()) + i)
        net(data=images(5, 6) * 3 + 1)
        net.blobs["sc"].square().sum().backward()
    for name in ("bn", "sc"):
        assert torch.allclose(fused.blobs[name], apart.blobs[name], rtol=1e-12)
    for ours, theirs in zip(fused.learnable, apart.learnable):
        assert torch.allclose(ours.tensor, theirs.tensor, rtol=1e-14)
        if ours.tensor.requires_grad:
            assert torch.allclose(ours.tensor.grad, theirs.tensor.grad, rtol=1e-11)


def test_two_runs_are_bit_identical():
    grads = []
    for _ in range(2):
        net = build(
            INPUT
            + LABEL
            + CONV
            + layer(
                "ip",
                "InnerProduct",
                "conv",
                "ip",
                'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }',
            )
            + layer("loss", "SoftmaxWithLoss", "ip label", "loss"),
            phase="TRAIN",
        )
        net(data=images(), label=torch.tensor([0, 2]))
        net.loss().backward()
        grads.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads))


WRONG = {
    "unknown bottom": (INPUT + layer("r", "ReLU", "nothing", "r"), CaffeFormatError, 'layer "r" .*unknown bottom "nothing"'),
    "top made twice": (INPUT + CONV + layer("r", "ReLU", "data", "conv"), CaffeFormatError, '"conv" is already made'),
    "propagate_down": (INPUT + layer("r", "ReLU", "data", "r", "propagate_down: 1 propagate_down: 0"), CaffeFormatError, "2 propagate_down for 1"),
    "loss_weight": (INPUT + layer("r", "ReLU", "data", "r", "loss_weight: 1 loss_weight: 0"), CaffeFormatError, "2 loss_weight for 1"),
    "group": (INPUT + CONV.replace("num_output: 5", "num_output: 5 group: 2"), CaffeFormatError, 'layer "conv".*group 2'),
    "kernel": (INPUT + CONV.replace("kernel_size: 3", "kernel_size: 9"), CaffeFormatError, "smaller than the kernel"),
    "pool padding": (INPUT + layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 2 pad: 2 }"), CaffeFormatError, "padding"),
    "empty window": (INPUT + layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 1 stride: 4 }").replace("dim: 4", "dim: 3"), CaffeFormatError, "empty window"),
    "stochastic": (INPUT + layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 2 pool: STOCHASTIC }"), CaffeFormatError, "STOCHASTIC"),
    "slice": (INPUT + layer("s", "Slice", "data", "a b"), CaffeFormatError, "does not divide into 2"),
    "reshape": (INPUT + layer("s", "Reshape", "data", "a", "reshape_param { shape { dim: 5 dim: -1 } }"), CaffeFormatError, "cannot give"),
    "even lrn": (INPUT + layer("s", "LRN", "data", "a", "lrn_param { local_size: 4 }"), CaffeFormatError, "must be odd"),
    "eltwise": (INPUT + CONV + layer("e", "Eltwise", "data conv", "e"), CaffeFormatError, "different shapes"),
    "concat": (INPUT + CONV + layer("c", "Concat", "data conv", "c"), CaffeFormatError, "differ off axis 1"),
    "statistics' lr_mult": (INPUT + layer("b", "BatchNorm", "data", "b", "param { lr_mult: 1 }"), CaffeFormatError, "must be 0"),
    "unknown type": (INPUT + layer("x", "ROIPooling", "data", "x"), UnsupportedLayerError, '"x": type "ROIPooling"'),
    "data layer": (layer("d", "ImageData", "", "data label"), UnsupportedLayerError, "not in the prototxt: give them with load_net"),
    "fork's type": (INPUT + layer("x", "Normalization", "data", "x"), UnsupportedLayerError, "rll_cvpr19, rll_tpami, osm_aaai19"),
}  # fmt: skip


@pytest.mark.parametrize("text, error, match", WRONG.values(), ids=WRONG)
def test_wrong_nets_fail_when_loaded(text, error, match):
    with pytest.raises(error, match=match):
        build(text)


def test_wrong_inputs():
    net = build(INPUT + LABEL + CONV)
    with pytest.raises(ValueError, match=r"missing \['data'\], unknown \['image'\]"):
        net(image=images())
    with pytest.raises(ValueError, match=r"declared is \(2, 3, 4, 4\)"):
        net(data=torch.zeros(2, 4, 4, 4))
    with pytest.raises(RuntimeError, match=r'layer "conv" \(Convolution\).*bottoms: data \(1, 3, 2, 2\)'):
        net(data=torch.zeros(1, 3, 2, 2))


def test_weights_by_name():
    net = build(INPUT + CONV + layer("sc", "Scale", "conv", "sc"))
    weight, bias = np.ones((5, 3, 3, 3)), np.arange(5.0)
    report = net.load_caffemodel({"conv": [weight, bias.reshape(1, 1, 1, 5)], "gone": [bias], "relu": []})
    assert (report.loaded, report.only_in_file, report.only_in_net) == (["conv"], ["gone"], ["sc"])
    assert "sc" in str(report) and "gone" in str(report)
    assert net.params["conv"][1].tolist() == [0, 1, 2, 3, 4]
    before = net.params["conv"][1].clone()
    with pytest.raises(CaffeFormatError, match=r'layer "sc" blob 0: shape \(4,\), the net has \(5,\)'):
        net.load_caffemodel({"conv": [weight, bias + 1], "sc": [np.zeros(4)]})
    assert torch.equal(before, net.params["conv"][1]), "a refused file changed weights"
    with pytest.raises(CaffeFormatError, match='layer "conv": 1 blobs, the net has 2'):
        net.load_caffemodel({"conv": [weight]})
    with pytest.warns(UserWarning, match="in the net only"):
        build(INPUT + CONV + layer("sc", "Scale", "conv", "sc"), weights={"conv": [weight, bias]})


def test_the_line_of_a_layer_is_named_where_it_is_certain(tmp_path):
    file = tmp_path / "x.prototxt"
    data = 'input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1\n'
    bad = 'layer {\n name: "a" type: "ReLU" bottom: "nothing" top: "y" }\n'
    file.write_text(data + "# a comment\n" + bad)
    with pytest.raises(CaffeFormatError, match=f'^{file}:4: layer "a"') as caught:
        load_net(file)
    assert (caught.value.file, caught.value.line) == (str(file), 4)
    # Two layers of that name, for two phases: the text does not say which one failed.
    file.write_text(data + bad + 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" include { phase: TRAIN } }')
    with pytest.raises(CaffeFormatError, match=f'^{file}: layer "a"'):
        load_net(file)
    with pytest.raises(CaffeFormatError, match=r'^<text>:3: layer "a"'):
        load_net(data + bad)


def test_a_reshape_field_of_unknown_effect_is_refused():
    text = 'input: "x" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 4 layer { name: "r" type: "Reshape" bottom: "x" top: "y" reshape_param { default_insert: 2 shape { dim: 2 dim: -1 } } }'
    with pytest.raises(CaffeFormatError, match="default_insert is not supported"):
        load_net(text, dialect="rll_tpami")
