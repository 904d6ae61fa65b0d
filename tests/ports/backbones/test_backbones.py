"""BN-Inception, ResNet-50 and heads against what the originals computed with seeded weights."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch
from helpers.paths import DATA
from torch import nn

from ports.backbones.bn_inception import BNInception, widths_of
from ports.backbones.heads import LayerNormHead, LinearHead, RLLHeads, XBMHead, concat_levels
from ports.backbones.resnet import ResNet50Embedding

RECORDED = DATA / "metrics"


def seeded(key: str, shape) -> torch.Tensor:
    """The records' weights: one stream per state-dict key."""
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    r = rng.randn(*shape)
    if key.endswith(("running_mean", "bias")):
        value = 0.1 * r
    elif key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(r)
    elif len(shape) == 1:
        value = 1 + 0.1 * r
    else:
        value = r * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32))


def seeded_state(module: nn.Module, rename=lambda key: key) -> dict[str, torch.Tensor]:
    return {
        k: torch.zeros((), dtype=torch.int64) if k.endswith("tracked") else seeded(rename(k), tuple(v.shape))
        for k, v in module.state_dict().items()
    }


def pixels(size: int) -> torch.Tensor:
    return torch.from_numpy((np.random.RandomState(7).randn(2, 3, size, size) * 40).astype(np.float32))


def load(name):
    return json.loads((RECORDED / "python" / "bninception" / name).read_text())


def test_state_dict_is_the_common_one():
    net = BNInception(pool="avg", num_classes=1000)
    expected = load("state_dict_cadene.json")
    assert list(expected) == list(net.state_dict())
    assert {k: list(v.shape) for k, v in net.state_dict().items()} == expected
    theirs = load("state_dict_ret_benchmark.json")
    backbone = [k.removeprefix("backbone.") for k in theirs if k.startswith("backbone.")]
    assert backbone == list(BNInception().state_dict())


@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_every_recorded_stage(dtype):
    record = load(f"forward_cadene_224_{dtype}.json")
    net = BNInception(pool="avg", num_classes=1000)
    net.load_state_dict(seeded_state(net))
    net.eval()
    x = pixels(224)
    if dtype == "f64":
        net, x = net.double(), x.double()
    stages = {}
    handles = [
        module.register_forward_hook(lambda m, i, o, name=name: stages.__setitem__(name, o.detach().clone()))
        for name, module in net.named_modules()
        if name in record
    ]
    blocks = [f"inception_{b}" for b in ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
    with torch.no_grad():
        outputs = net.stages(x, blocks)
        stages |= {f"{name}_output": value for name, value in outputs.items()}
        stages["global_max_pool"] = outputs["inception_5b"].amax((2, 3))
        stages["global_avg_pool"] = outputs["inception_5b"].mean((2, 3))
        stages["model_output"] = net(x)
    for handle in handles:
        handle.remove()
    checked = 0
    for name, expected in record.items():
        if name not in stages:
            continue  # pools and ReLUs between convolutions have no module of their own here
        checked += 1
        value = stages[name].flatten().numpy()
        assert list(stages[name].shape) == expected["shape"]
        # Relative to the blob's RMS: 1e-9 in float64, 1e-4 in float32 (69 convolutions of rounding 6e-8).
        rms = expected["l2"] / np.sqrt(value.size)
        atol = (1e-9 if dtype == "f64" else 1e-4) * rms
        np.testing.assert_allclose(value[expected["idx"]], expected["values"], rtol=0, atol=atol, err_msg=name)
        assert np.linalg.norm(value.astype(np.float64)) == pytest.approx(
            expected["l2"], rel=1e-9 if dtype == "f64" else 1e-5
        )
    assert checked == 17


@pytest.mark.parametrize("name", ["ret_benchmark", "deep_metric"])
def test_max_pool_and_linear_head(name):
    z = np.load(RECORDED / "python" / "bninception" / f"final_{name}_224.npz")
    net, head = BNInception().double().eval(), LinearHead().double()
    net.load_state_dict(seeded_state(net))
    prefix = "head." if name == "ret_benchmark" else "classifier.linear."
    head.load_state_dict(seeded_state(head, lambda k: prefix + (k if name == "ret_benchmark" else k[3:])))
    with torch.no_grad():
        features = net(pixels(224).double())
        output = head(features)
    # Summation order over 69 layers, relative to values of some hundred.
    np.testing.assert_allclose(features.numpy(), z["global_max_pool"], rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(output.numpy(), z["output"], rtol=0, atol=1e-12)


CAFFE_NAMES = {"double_3x3_reduce": "double3x3_reduce", "double_3x3_1": "double3x3a", "double_3x3_2": "double3x3b"}


def caffe_state(module: nn.Module, names) -> dict[str, torch.Tensor]:
    """Seeded as the Caffe records: stream "layer:blob"; names: module -> Caffe layer."""
    state = {}
    for key, value in module.state_dict().items():
        owner, field = key.rsplit(".", 1)
        layer, shape = names(owner), tuple(value.shape)
        blob = {"running_mean": 0, "running_var": 1}.get(field)
        if field == "num_batches_tracked":
            state[key] = value
        elif blob is not None:
            r = np.random.RandomState(zlib.crc32(f"{layer}/bn:{blob}".encode())).randn(*shape)
            state[key] = torch.from_numpy(((0.1 * r) if blob == 0 else 1 + 0.1 * np.abs(r)).astype(np.float32))
        elif len(shape) == 1:
            blob = 0 if field == "weight" else 1
            r = np.random.RandomState(zlib.crc32(f"{layer}/bn/sc:{blob}".encode())).randn(*shape)
            state[key] = torch.from_numpy(((1 - blob) + 0.1 * r).astype(np.float32))
        else:
            r = np.random.RandomState(zlib.crc32(f"{layer}:0".encode())).randn(*shape)
            state[key] = torch.from_numpy((r * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32))
    return state


def backbone_names(owner: str) -> str:
    owner = owner.removesuffix("_bn")
    if owner.startswith("conv"):
        return owner.replace("_", "/", 1)
    block, branch = owner[:12], owner[13:]
    return f"{block}/{CAFFE_NAMES.get(branch, branch)}"


def head_names(owner: str) -> str:
    level, layer = owner.split(".")
    if level == "H":
        return "pool5/7x7_s1/fc"
    prefix = {"L": "loss1", "M": "loss2"}[level]
    return f"{prefix}/{ {'embedding': 'fc/bn/sc/fc'}.get(layer, layer.removesuffix('_bn')) }"


def test_rll_concat_equals_the_authors_net():
    """GoogLeNet-BN with the three heads, in float64, against the authors' Caffe on their test_concat.prototxt."""
    recorded = np.load(RECORDED / "nets" / "rll_cvpr19_sop_test_concat.npz")["final_0"]
    net, heads = BNInception(widths="caffe", conv_bias=False), RLLHeads()
    net.load_state_dict(caffe_state(net, backbone_names))
    heads.load_state_dict(caffe_state(heads, head_names))
    assert widths_of(net.state_dict()) == "caffe" and widths_of(BNInception().state_dict()) == "pytorch"
    net.double().eval(), heads.double().eval()
    with torch.no_grad():
        outputs = heads(net.stages(pixels(227).double(), heads.stages))
    joined = torch.cat([outputs[level] for level in "HLM"], dim=1).numpy()
    rms = np.sqrt((recorded**2).mean())
    np.testing.assert_allclose(joined, recorded.reshape(joined.shape), rtol=0, atol=1e-9 * rms)
    unit = concat_levels(outputs).numpy()
    np.testing.assert_allclose(unit, joined / np.linalg.norm(joined, axis=1, keepdims=True), rtol=0, atol=1e-14)


def test_frozen_bn_keeps_its_statistics_and_trains_the_rest():
    net = BNInception(freeze_bn=True).train()
    assert net.training and not net.conv1_7x7_s2_bn.training
    before = net.conv1_7x7_s2_bn.running_mean.clone()
    net(torch.randn(2, 3, 64, 64)).sum().backward()
    assert torch.equal(before, net.conv1_7x7_s2_bn.running_mean)
    assert net.conv1_7x7_s2_bn.weight.grad.abs().sum() > 0
    free = BNInception().train()
    free(torch.randn(2, 3, 64, 64))
    assert not torch.equal(free.conv1_7x7_s2_bn.running_mean, torch.zeros(64))


HEADS = {"f64": (torch.float64, "", 1e-12), "f32": (torch.float32, "_f32", 1e-5)}


@pytest.mark.parametrize("dtype", HEADS)
@pytest.mark.parametrize("seed", [401, 402])
@pytest.mark.parametrize("kind", ["linearnorm", "dm_embedding", "feat_remap", "feat_noremap"])
def test_heads(kind, seed, dtype):
    z = np.load(RECORDED / "python" / "heads" / f"heads_{seed}.npz")
    dtype, suffix, tolerance = HEADS[dtype]
    value = {k: torch.from_numpy(z[k]).to(dtype) for k in ("x", "W", "b", "G", "fm", "Gf", "Gi")}
    image = kind.startswith("feat")
    x = value["fm" if image else "x"].requires_grad_()
    if image:
        head: nn.Module = LayerNormHead(16, 8 if kind == "feat_remap" else 16).to(dtype)
        weight = head.remap.weight if head.remap is not None else None
        top = value["Gf" if kind == "feat_remap" else "Gi"]
    else:
        head = LinearHead(16, 8, zero_is_nan=kind == "dm_embedding").to(dtype)
        head.fc.bias.data = value["b"]
        weight, top = head.fc.weight, value["G"]
    if weight is not None:
        weight.data = value["W"]
    out = head(x)
    (out * top).sum().backward()

    def check(name, ours):
        # 1e-12 in float64; float32: 1e-5 of the largest entry. Gradients of a zero row are huge: each row by itself.
        expected = z[f"{kind}_{name}{suffix}"]
        finite = expected[np.isfinite(expected)]
        largest = np.abs(finite).max() if finite.size else 1
        np.testing.assert_allclose(
            ours.detach().numpy(), expected, rtol=tolerance, atol=tolerance * largest, err_msg=name
        )

    check("out", out)
    check("gfm" if image else "gx", x.grad)
    if weight is not None:
        check("gW", weight.grad)
    if f"{kind}_gb{suffix}" in z:
        check("gb", head.fc.bias.grad)


def test_initialisation():
    torch.manual_seed(0)
    fc = LinearHead().fc
    # Kaiming normal, fan out: standard deviation sqrt(2 / 512); 524,288 draws put it within 0.5 %.
    assert fc.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=5e-3) and not fc.bias.any()
    assert XBMHead().fc.out_features == 128
    weight = RLLHeads().get_submodule("H").embedding.weight
    assert weight.abs().max() <= (3 / 1024) ** 0.5 and weight.abs().max() > 0.99 * (3 / 1024) ** 0.5


def test_resnet50_embeds():
    net = ResNet50Embedding(64).eval()
    with torch.no_grad():
        out = net(torch.randn(2, 3, 64, 64))
    assert out.shape == (2, 64)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2))
    assert ResNet50Embedding(2048).head.remap is None
    from ports.torchvision_compat import torchvision

    net.load_imagenet(torchvision.models.resnet50(weights=None).state_dict())


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="pool='median'"):
        BNInception(pool="median")
    with pytest.raises(ValueError, match="no block 'inception_9z'"):
        BNInception().stages(torch.zeros(1, 3, 64, 64), ["inception_9z"])
    with pytest.raises(ValueError, match="widths='wide'"):
        BNInception(widths="wide")
    with pytest.raises(ValueError, match="levels='HX'"):
        RLLHeads(levels="HX")
