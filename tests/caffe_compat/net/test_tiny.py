"""Small nets of the three forks: forward, gradients of every blob, and weights, against what the forks' Caffe recorded."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from caffe_compat.net import load_net
from caffe_compat.net.seeded import seed_weights, seeded_images

FORKS = ["rll_cvpr19", "rll_tpami", "osm_aaai19"]
# Sums of at most 12 * 100 terms: a few 1e-16 each; loss gradients pass four layers.
RTOL = 1e-10


def assert_close(name: str, ours: torch.Tensor, recorded: np.ndarray) -> None:
    ours = ours.detach().double().numpy()
    assert ours.shape == recorded.shape, name
    scale = np.sqrt(np.mean(np.square(recorded, dtype=np.float64)))
    assert np.abs(ours - recorded).max() <= RTOL * scale + 1e-14, name


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("keep", [True, False])
def test_deploy_forward(tiny, fork, keep):
    net = load_net(tiny / fork / "deploy.prototxt", tiny / fork / "init.caffemodel", dialect=fork).double()
    net.keep_blobs = keep
    with torch.no_grad():
        outputs = net(data=seeded_images((2, 3, 19, 19)))
    recorded = np.load(tiny / fork / "deploy_forward_f64.npz")
    assert list(outputs) == ["fc/L2Norm"]
    for key in recorded.files:
        name = key.removeprefix("blob:")
        if keep or name in outputs:
            assert_close(name, net.blobs[name], recorded[key])
    assert keep or list(net.blobs) == ["data", "fc/L2Norm"]


def train_net(tiny, fork):
    net = load_net(tiny / fork / "train.prototxt", dialect=fork, phase="TRAIN")
    seed_weights(net, statistics=False)
    return net.double()


@pytest.mark.parametrize("fork", FORKS)
def test_learnable_blobs_and_their_multipliers(tiny, fork):
    recorded = json.loads((tiny / fork / "manifest.json").read_text())["learnable"]
    ours = [{"i": i, "lr": b.lr_mult, "wd": b.decay_mult} for i, b in enumerate(train_net(tiny, fork).learnable)]
    assert ours == recorded


@pytest.mark.parametrize("fork", FORKS)
def test_training_forward_and_blob_gradients(tiny, reference, fork):
    recorded = np.load(reference / "tiny" / fork / "train_trace_f64.npz")
    net = train_net(tiny, fork)
    net(data=seeded_images((12, 3, 19, 19), 100), label=torch.from_numpy(recorded["label"]))
    # The top of BatchNorm is computed aside; Caffe's diff of an in-place ReLU's blob is that of the value before it.
    aside = {"conv1/3x3_s2/bn", "conv1/3x3_s2/bn/sc"}
    names = [key.removeprefix("iter1:data:") for key in recorded.files if key.startswith("iter1:data:")]
    for name in names:
        if net.blobs[name].requires_grad and name not in aside:
            net.blobs[name].retain_grad()
    net.loss().backward()
    assert len(names) > 10
    for name in names:
        value = net.blobs[name]
        if fork == "rll_tpami" and name == "loss":
            # That fork's loss layer computes in Backward: its top was still the one before (0), now it is this.
            assert value.item() == 0
            value = net.plan.layers[-1].reported
        assert_close(name, value, recorded[f"iter1:data:{name}"])
        # The fork's Net also writes diffs into tops that no gradient reaches; those are 0.
        if name not in aside and np.any(recorded[f"iter1:diff:{name}"]):
            grad = net.blobs[name].grad
            assert grad is not None, name
            assert_close(f"diff of {name}", grad, recorded[f"iter1:diff:{name}"])


def test_shared_parameters_are_one_tensor(tiny):
    net = train_net(tiny, "osm_aaai19")
    assert net.params["cls1"][0] is net.params["cls2"][0]
    names = [b.layer for b in net.learnable]
    assert "cls1" in names and "cls2" not in names
    twin = copy.deepcopy(net)
    assert twin.params["cls1"][1] is twin.params["cls2"][1]
    assert twin.params["cls1"][1] is not net.params["cls1"][1]


def test_copy_after_a_forward(tiny):
    net = train_net(tiny, "rll_cvpr19")
    batch = {"data": seeded_images((12, 3, 19, 19), 100), "label": torch.arange(12) // 3}
    net(**batch)
    twin = copy.deepcopy(net)
    assert len(twin.blobs) == 0 and len(net.blobs) > 0
    net(**batch), twin(**batch)
    assert torch.equal(net.loss(), twin.loss())
    assert torch.equal(net.params["conv1/3x3_s2/bn"][0], twin.params["conv1/3x3_s2/bn"][0])


def test_looking_at_batch_norms_top_changes_nothing(tiny):
    """Its own value is computed on demand; the running sums and the backward must not notice."""
    gradients, sums = [], []
    for look in (False, True):
        net = train_net(tiny, "rll_cvpr19")
        net(data=seeded_images((12, 3, 19, 19), 100), label=torch.arange(12) // 3)
        if look:
            assert net.blobs["conv1/3x3_s2/bn"].std().item() == pytest.approx(1, abs=1e-3)
        net.loss().backward()
        gradients.append(net.params["conv1/3x3_s2"][0].grad)
        sums.append(net.params["conv1/3x3_s2/bn"][0].clone())
    assert torch.equal(*gradients) and torch.equal(*sums)


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_weights_survive_writing_and_reading(tiny, tmp_path, fork, suffix):
    name = "train_h5.prototxt" if suffix.endswith("h5") else "train.prototxt"
    net = load_net(tiny / fork / name, dialect=fork, phase="TRAIN")
    seed_weights(net)
    net.save_caffemodel(tmp_path / f"w{suffix}")
    twin = load_net(tiny / fork / name, tmp_path / f"w{suffix}", dialect=fork, phase="TRAIN")
    for ours, theirs in zip(net.learnable, twin.learnable):
        assert ours[:2] == theirs[:2]
        assert torch.equal(ours.tensor, theirs.tensor), ours.layer


@pytest.mark.parametrize("fork", FORKS)
def test_snapshot_that_caffe_wrote(tiny, reference, fork):
    net = load_net(tiny / fork / "train.prototxt", tiny / fork / "tiny_iter_3.caffemodel", dialect=fork, phase="TRAIN")
    recorded = np.load(reference / "tiny" / fork / "train_trace.npz")
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            assert np.array_equal(blob.detach().numpy(), recorded[f"param3:{name}:{i}"]), f"{name}:{i}"
