"""Layers without a recording: against the formula in NumPy, with numerical gradients; and quirks of recorded ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffe_compat.formats.prototxt import parse
from caffe_compat.layers import LAYERS, class_attention, pair_losses


def make(kind: str, rest: str, *shapes, tops: int = 1, dialect: str = "bvlc", phase: str = "TRAIN"):
    names = " ".join(f'top: "t{i}"' for i in range(tops))
    message = parse(f'name: "l" type: "{kind}" {names} {rest}', "LayerParameter", dialect)
    return LAYERS[kind](message, shapes, dialect=dialect, phase=phase).double()


def randn(*shape, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape))


def apply(layer, *bottoms):
    tops = layer(*bottoms)
    assert [tuple(t.shape) for t in tops] == layer.top_shapes([tuple(b.shape) for b in bottoms])
    return [t.detach().numpy() for t in tops]


def check_gradient(layer, *bottoms):
    bottoms = [b.clone().requires_grad_() for b in bottoms]
    assert torch.autograd.gradcheck(lambda *b: layer(*b[: len(bottoms)])[0], (*bottoms, *layer.parameters()))


X = randn(3, 4, 5, 2)
x = X.numpy()

ELEMENTWISE = {
    "Log": ("log_param { base: 2 scale: 3 shift: 0.5 }", np.abs(x), lambda v: np.log2(3 * v + 0.5)),
    "Exp": ("exp_param { base: 2 scale: 3 shift: 0.5 }", x, lambda v: 2 ** (3 * v + 0.5)),
    "BNLL": ("", x * 20, lambda v: np.logaddexp(v, 0)),
    "Swish": ("swish_param { beta: 1.5 }", x, lambda v: v / (1 + np.exp(-1.5 * v))),
    "Clip": ("clip_param { min: -0.5 max: 0.75 }", x, lambda v: v.clip(-0.5, 0.75)),
    "Threshold": ("threshold_param { threshold: 0.5 }", x, lambda v: (v > 0.5) * 1.0),
    "ELU": ("elu_param { alpha: 0.5 }", x, lambda v: np.where(v > 0, v, 0.5 * np.expm1(v))),
}


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_elementwise(kind):
    rest, values, formula = ELEMENTWISE[kind]
    layer = make(kind, rest, values.shape)
    (top,) = apply(layer, torch.from_numpy(values))
    assert np.allclose(top, formula(values), rtol=1e-12, atol=1e-14)
    if kind not in ("Threshold", "Clip"):
        check_gradient(layer, torch.from_numpy(values[:2, :2, :2]))


def test_bias():
    layer = make("Bias", 'bias_param { axis: 1 num_axes: 2 filler { type: "constant" value: 2 } }', x.shape)
    layer.fill()
    assert tuple(layer.blobs[0].shape) == (4, 5) and (layer.blobs[0] == 2).all()
    with torch.no_grad():
        layer.blobs[0].copy_(randn(4, 5, seed=1))
    assert np.allclose(apply(layer, X)[0], x + randn(4, 5, seed=1).numpy()[None, :, :, None])
    two = make("Bias", "bias_param { axis: 0 }", x.shape, (3, 4))
    assert np.allclose(apply(two, X, randn(3, 4))[0], x + randn(3, 4).numpy()[:, :, None, None])
    check_gradient(two, X, randn(3, 4))


def test_scale_by_a_bottom():
    layer = make("Scale", "scale_param { axis: 0 bias_term: true }", x.shape, (3,))
    assert [tuple(b.shape) for b in layer.blobs] == [(3,)]
    with torch.no_grad():
        layer.blobs[0].copy_(torch.arange(3.0))
    expected = x * np.array([2.0, 3.0, 4.0])[:, None, None, None] + np.arange(3.0)[:, None, None, None]
    assert np.allclose(apply(layer, X, torch.tensor([2.0, 3.0, 4.0]).double())[0], expected)


def test_crop():
    layer = make("Crop", "crop_param { axis: 2 offset: 1 offset: 0 }", x.shape, (3, 9, 3, 2))
    assert np.array_equal(apply(layer, X, randn(3, 9, 3, 2))[0], x[:, :, 1:4, 0:2])
    with pytest.raises(ValueError, match="exceed axis 2"):
        make("Crop", "crop_param { axis: 2 offset: 4 offset: 0 }", x.shape, (3, 9, 3, 2)).top_shapes(
            [x.shape, (3, 9, 3, 2)]
        )


def test_deconvolution_is_the_transpose_of_convolution():
    param = "convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 group: 2 bias_term: false }"
    down = make("Convolution", param, (2, 4, 7, 9))
    up = make("Deconvolution", param.replace("num_output: 6", "num_output: 4"), (2, 6, 4, 5))
    weight = randn(6, 2, 3, 3)
    with torch.no_grad():
        down.blobs[0].copy_(weight)
        up.blobs[0].copy_(weight)
    a, b = randn(2, 4, 7, 9, seed=1), randn(2, 6, 4, 5, seed=2)
    left, right = (down(a)[0] * b).sum(), (a * up(b)[0]).sum()
    assert torch.allclose(left, right, rtol=1e-12)
    assert up.top_shapes([(2, 6, 4, 5)]) == [(2, 4, 7, 9)]


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_hinge_loss(norm):
    scores, labels = randn(5, 4), np.array([0, 3, 1, 2, 2])
    margin = 1 + scores.numpy()
    margin[np.arange(5), labels] = 1 - scores.numpy()[np.arange(5), labels]
    hinge = np.maximum(margin, 0)
    expected = (hinge if norm == "L1" else hinge**2).sum() / 5
    layer = make("HingeLoss", f"hinge_loss_param {{ norm: {norm} }}", (5, 4), (5,))
    targets = torch.from_numpy(labels).double()
    assert apply(layer, scores, targets)[0] == pytest.approx(expected, rel=1e-13)
    assert torch.autograd.gradcheck(lambda s: layer(s, targets)[0], scores.clone().requires_grad_())


def test_hinge_loss_at_the_kink_has_no_gradient():
    scores = torch.tensor([[1.0, -1.0]]).double().requires_grad_()
    make("HingeLoss", "", (1, 2), (1,))(scores, torch.zeros(1))[0].backward()
    assert scores.grad.abs().max() == 0


@pytest.mark.parametrize("mode, count", [("", 3), ("VALID", 11), ("FULL", 12), ("BATCH_SIZE", 3), ("NONE", 1)])
def test_sigmoid_cross_entropy_loss(mode, count):
    scores, target = randn(3, 4) * 3, (randn(3, 4, seed=1) > 0).double()
    target[1, 2] = 7
    prob = 1 / (1 + np.exp(-scores.numpy()))
    entropy = -np.where(target.numpy() == 1, np.log(np.maximum(prob, 1e-300)), 0)
    entropy -= np.where(target.numpy() == 0, np.log(np.maximum(1 - prob, 1e-300)), 0)
    rest = f"loss_param {{ ignore_label: 7 {f'normalization: {mode}' if mode else ''} }}"
    layer = make("SigmoidCrossEntropyLoss", rest, (3, 4), (3, 4))
    s = scores.clone().requires_grad_()
    (loss,) = layer(s, target)
    assert loss.item() == pytest.approx(entropy.sum() / count, rel=1e-10)
    loss.backward()
    expected = np.where(target.numpy() == 7, 0, prob - target.numpy()) / count
    assert np.allclose(s.grad.numpy(), expected, rtol=1e-12, atol=1e-15)


def test_multinomial_logistic_loss():
    prob, labels = (
        torch.tensor([[0.2, 0.8], [1.0, 0.0]], dtype=torch.float64, requires_grad=True),
        torch.tensor([1.0, 1.0]),
    )
    (loss,) = make("MultinomialLogisticLoss", "", (2, 2), (2,))(prob, labels)
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(1e-20)) / 2, rel=1e-13)
    loss.backward()
    assert np.allclose(prob.grad.numpy(), [[0, -1 / 1.6], [0, -0.5e20]])


def test_argmax():
    over_all = make("ArgMax", "argmax_param { top_k: 2 out_max_val: true }", x.shape)
    (top,) = apply(over_all, X)
    flat = x.reshape(3, -1)
    order = np.argsort(-flat, axis=1)[:, :2]
    assert np.array_equal(top[:, 0], order) and np.array_equal(top[:, 1], np.take_along_axis(flat, order, 1))
    along = make("ArgMax", "argmax_param { axis: 1 }", x.shape)
    assert np.array_equal(apply(along, X)[0], x.argmax(1, keepdims=True))


def test_embed():
    layer = make("Embed", "embed_param { num_output: 3 input_dim: 6 }", (2, 2))
    with torch.no_grad():
        layer.blobs[0].copy_(randn(6, 3))
        layer.blobs[1].copy_(torch.arange(3.0))
    rows = torch.tensor([[0.0, 5.0], [2.0, 2.0]]).double()
    assert np.allclose(apply(layer, rows)[0], randn(6, 3).numpy()[rows.long().numpy()] + np.arange(3.0))


@pytest.mark.parametrize("across", [False, True])
def test_mvn(across):
    axes = (1, 2, 3) if across else (2, 3)
    layer = make("MVN", f"mvn_param {{ across_channels: {str(across).lower()} eps: 0.01 }}", x.shape)
    centred = x - x.mean(axes, keepdims=True)
    expected = centred / (np.sqrt((centred**2).mean(axes, keepdims=True)) + np.float64(np.float32(0.01)))
    assert np.allclose(apply(layer, X)[0], expected, rtol=1e-12)


def test_dummy_data_and_parameter():
    rest = 'dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: "constant" value: 4 } }'
    tops = apply(make("DummyData", rest, tops=2))
    assert len(tops) == 2 and (tops[0] == 4).all() and tops[0].shape == (2, 3)
    legacy = "dummy_data_param { num: 1 channels: 2 height: 3 width: 4 }"
    assert apply(make("DummyData", legacy))[0].shape == (1, 2, 3, 4)
    layer = make("Parameter", "parameter_param { shape { dim: 2 dim: 2 } }")
    assert layer()[0] is layer.blobs[0]


def test_batch_pool_backward_differs_between_forks():
    for dialect, factor in (("osm_aaai19", 1 / 3), ("rll_cvpr19", 3.0)):
        layer, bottom = make("BatchPool", "", x.shape, dialect=dialect), X.clone().requires_grad_()
        (top,) = layer(bottom)
        assert np.allclose(top.detach().numpy(), x.mean(0, keepdims=True))
        top.sum().backward()
        assert torch.allclose(bottom.grad, torch.full_like(X, factor))


def test_softmax_loss_clamps_the_value_only():
    logits = torch.tensor([[200.0, 0.0]]).double().requires_grad_()
    loss, prob = make("SoftmaxWithLoss", "", (1, 2), (1,), tops=2)(logits, torch.tensor([1.0]))
    assert loss.item() == pytest.approx(-math.log(np.finfo(np.float32).tiny), rel=1e-12)
    loss.backward()
    assert torch.allclose(logits.grad, torch.tensor([[1.0, -1.0]]).double())
    assert torch.equal(prob, torch.softmax(logits, 1))


def test_softmax_loss_with_every_label_ignored_is_zero():
    layer = make("SoftmaxWithLoss", "loss_param { ignore_label: 9 }", (2, 3), (2,))
    assert layer(randn(2, 3), torch.tensor([9.0, 9.0]))[0].item() == 0


def test_accuracy_ties_and_classes():
    scores, labels = torch.zeros(3, 3).double(), torch.tensor([0.0, 1.0, 2.0])
    assert apply(make("Accuracy", "", (3, 3), (3,), dialect="osm_aaai19"), scores, labels)[0] == pytest.approx(1 / 3)
    assert apply(make("Accuracy", "", (3, 3), (3,)), scores, labels)[0] == 0
    scores = torch.eye(3).double()[[0, 1, 1]]
    total, by_class = apply(make("Accuracy", "", (3, 3), (3,), tops=2), scores, torch.tensor([0.0, 1.0, 2.0]))
    assert total == pytest.approx(2 / 3) and by_class.tolist() == [1, 1, 0]


def pool_by_loops(values, kernel, stride, pad, method):
    """pooling_layer.cpp, written down position by position."""
    n, c, height, width = values.shape
    sizes = []
    for size in (height, width):
        pooled = math.ceil((size + 2 * pad - kernel) / stride) + 1
        if pad and (pooled - 1) * stride >= size + pad:
            pooled -= 1
        sizes.append(pooled)
    top = np.zeros((n, c, *sizes))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            h0, w0 = i * stride - pad, j * stride - pad
            h1, w1 = min(h0 + kernel, height + pad), min(w0 + kernel, width + pad)
            area = (h1 - h0) * (w1 - w0)
            window = values[:, :, max(h0, 0) : min(h1, height), max(w0, 0) : min(w1, width)]
            top[:, :, i, j] = window.max((2, 3)) if method == "MAX" else window.sum((2, 3)) / area
    return top


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize(
    "kernel, stride, pad", [(2, 1, 1), (3, 1, 2), (3, 2, 2), (3, 3, 1), (4, 3, 3), (5, 2, 4), (2, 2, 0)]
)
def test_pooling_with_any_padding(method, kernel, stride, pad):
    values = randn(2, 3, 6, 7)
    layer = make(
        "Pooling", f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }}", (2, 3, 6, 7)
    )
    assert np.allclose(apply(layer, values)[0], pool_by_loops(values.numpy(), kernel, stride, pad, method), rtol=1e-13)


def test_pooling_mask_and_floor():
    values = randn(1, 1, 5, 5)
    top, mask = apply(make("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", (1, 1, 5, 5), tops=2), values)
    assert np.array_equal(values.numpy().reshape(-1)[mask.astype(int)], top)
    floor = make("Pooling", "pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR }", (1, 1, 5, 5))
    assert apply(floor, values)[0].shape == (1, 1, 2, 2)


def test_dropout_scale_in_the_forks():
    rest = "dropout_param { dropout_ratio: 0.25 scale_train: false }"
    (top,) = apply(make("Dropout", rest, x.shape, dialect="osm_aaai19", phase="TEST"), X)
    assert np.allclose(top, 0.75 * x)
    torch.manual_seed(0)
    (top,) = apply(make("Dropout", rest, x.shape, dialect="osm_aaai19"), X)
    kept = top != 0
    assert np.allclose(top[kept], x[kept]) and 0.5 < kept.mean() < 0.95


def test_eltwise_max_gives_ties_to_one_bottom():
    grads = []
    layer = make("Eltwise", "eltwise_param { operation: MAX }", (2,), (2,), (2,))
    bottoms = [torch.ones(2).double().requires_grad_() for _ in range(3)]
    layer(*bottoms)[0].sum().backward()
    grads = [b.grad.sum().item() for b in bottoms]
    assert grads == [0, 2, 0]  # eltwise_layer.cpp: not (a > b) takes b; the third must exceed


RECORDED = """AbsVal Accuracy BatchNorm BatchPool Concat Convolution Dropout ELU Eltwise EuclideanLoss Exp Flatten
InnerProduct LRN Normalization Normalize PReLU Pooling Power ReLU Reduction Reshape Scale Sigmoid Slice Softmax
SoftmaxWithLoss Split TanH Tile"""
HERE = """Bias Crop Deconvolution HingeLoss SigmoidCrossEntropyLoss MultinomialLogisticLoss ArgMax Embed MVN DummyData
Parameter Silence"""


def test_every_type_has_a_test():
    """A new layer type without a recording or a formula here is noticed."""
    papers = {*class_attention.LAYERS, *pair_losses.LAYERS}
    assert set(LAYERS) == {*RECORDED.split(), *HERE.split(), *ELEMENTWISE} | papers


PARTS = {  # a layer -> is a part of the batch enough for it?
    "Convolution": ("convolution_param { num_output: 3 kernel_size: 2 weight_filler { type: 'xavier' } }", True),
    "Scale": ("", True),
    "ReLU": ("", True),
    "PReLU": ("", True),
    "ELU": ("", True),
    "Sigmoid": ("", True),
    "TanH": ("", True),
    "Pooling": ("pooling_param { kernel_size: 2 }", True),
    "InnerProduct": ("inner_product_param { num_output: 3 weight_filler { type: 'xavier' } }", True),
    "Softmax": ("", True),
    "LRN": ("", True),
    "Normalization": ("normalization_param { norm: L2 }", True),
    "Reshape": ("reshape_param { shape { dim: 0 dim: -1 } }", True),
    "Concat": ("", True),
    "Concat 0": ("concat_param { axis: 0 }", False),
    "Normalization L1": ("normalization_param { norm: L1 }", False),
    "Reshape flat": ("reshape_param { shape { dim: -1 } }", False),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_layer_says_whether_it_works_per_sample(name):
    """Two halves computed apart are the whole, or are not."""
    kind, (rest, alone) = name.split()[0], PARTS[name]
    dialect = "rll_cvpr19" if kind == "Normalization" else "bvlc"
    shape = (4, 1, 1, 1) if name == "Normalization L1" else (4, 4, 5, 2)
    bottoms = [randn(*shape, seed=seed).abs() for seed in range(2 if kind == "Concat" else 1)]
    layer = make(kind, rest, *[shape] * len(bottoms), dialect=dialect)
    layer.fill()
    assert layer.per_sample == alone
    with torch.no_grad():
        (whole,) = layer(*bottoms)
        halves = torch.cat([layer(*(b[at] for b in bottoms))[0] for at in (slice(0, 2), slice(2, 4))])
    rows = len(whole) == 4  # a row of the top is a sample
    assert (rows and whole.shape == halves.shape and torch.allclose(whole, halves, rtol=1e-13, atol=1e-15)) == alone


def test_losses_never_work_per_sample():
    assert not any(kind.per_sample for kind in LAYERS.values() if kind.is_loss)
