"""A run's checkpoint back into the authors' programs: .caffemodel for their nets, plain names for everybody else."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

import caffe_compat
from caffe_compat.formats.caffemodel import read_caffemodel
from caffe_compat.tools import cli
from caffe_compat.tools.convert import convert
from paper_recipes import registry
from paper_recipes.runner.engines import checkpoint, networks
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The engine of rll-sop with statistics as after training, and its checkpoint."""
    engine = CaffeEngine(registry.get("rll-sop").the_caffe(), device=torch.device("cpu"), seed=3)
    for layer in engine.solver.net:
        if layer.layer_type == "BatchNorm":
            for blob, value in zip(layer.blobs, (0.01, 0.7, 1.0)):
                blob.fill_(value)
    path = tmp_path_factory.mktemp("run") / "iteration_000001.safetensors"
    checkpoint.save(path, Checkpoint(engine.tensors(), {"iteration": 1}))
    engine.begin_embedding()
    return engine, path


def test_the_authors_deploy_net_gives_the_same_features(trained, reference, tmp_path):
    engine, path = trained
    assert "layers with blobs, momentum left out" in convert(path, tmp_path / "x.caffemodel")
    folder = reference / "prototxt/rll_cvpr19/SOP_GoogLeNet_Ori_V05/deploy_prototxts"
    images = 50 * torch.randn(1, 3, 227, 227, generator=torch.Generator().manual_seed(1))
    features = engine.embed(images)["H"]
    for weights in (tmp_path / "x.caffemodel", path):  # --weights of `export` and `info` is the checkpoint itself
        net = caffe_compat.load_net(folder / "test_H.prototxt", phase="TEST", dialect="rll_cvpr19")
        report = net.load_caffemodel(weights)
        assert not report.only_in_net and all(name.startswith(("loss1/", "loss2/")) for name in report.only_in_file)
        net.to(memory_format=torch.channels_last)
        with torch.no_grad():
            (found,) = net(data=images.to(memory_format=torch.channels_last)).values()
        assert torch.equal(found.flatten(1), features) and features.std() > 0


@pytest.mark.slow  # traces the whole net
def test_onnx_from_a_checkpoint(trained, reference, tmp_path, capsys):
    """`export` takes the checkpoint as --weights; what the deploy net leaves out is a line of warning."""
    engine, path = trained
    folder = reference / "prototxt/rll_cvpr19/SOP_GoogLeNet_Ori_V05/deploy_prototxts"
    target = tmp_path / "h.onnx"
    arguments = [
        "export",
        str(folder / "test_H.prototxt"),
        str(target),
        "--weights",
        str(path),
        "--dialect",
        "rll_cvpr19",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.startswith(str(target)) and "onnxruntime at batch sizes" in said.out
    assert [line.split(":")[0] for line in said.err.splitlines()] == ["warning"]
    images = 50 * torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"data": images.numpy()})
    features = engine.embed(images)["H"].numpy()
    # The bound that `export` itself holds its float32 output to: 1e-4 of the RMS.
    assert np.abs(found.reshape(features.shape) - features).max() <= 1e-4 * np.sqrt((features**2).mean())


def test_plain_names_of_a_caffe_recipe(trained, tmp_path):
    engine, path = trained
    assert "momentum left out" in convert(path, tmp_path / "plain.safetensors")
    plain = load_file(tmp_path / "plain.safetensors")
    blobs = {f"{name}:{i}": blob for name, blobs in engine.solver.net.params.items() for i, blob in enumerate(blobs)}
    assert plain.keys() == blobs.keys() and all(torch.equal(plain[name], blobs[name]) for name in blobs)


def test_a_pytorch_recipe(tmp_path):
    """Its whole network under research-ms-loss's names; its trunk for Caffe."""
    net = networks.EmbeddingNet(registry.get("ms-cub").torch)
    path = tmp_path / "iteration_000001.safetensors"
    tensors = {f"net/{name}": value for name, value in net.state_dict().items()} | {"optimizer/0": torch.zeros(3)}
    checkpoint.save(path, Checkpoint(tensors, {"iteration": 1}))
    convert(path, tmp_path / "plain.safetensors")
    assert "into backbone and head" in networks.load_model(net, tmp_path / "plain.safetensors")
    convert(path, tmp_path / "trunk.caffemodel")
    again = caffe_compat.load_bn_inception(tmp_path / "trunk.caffemodel").state_dict()
    assert torch.equal(again["inception_5b_1x1.weight"], net.backbone.state_dict()["inception_5b_1x1.weight"])
    with pytest.raises(ValueError, match="a PyTorch recipe's checkpoint has no Caffe layers"):
        read_caffemodel(path)


def test_wrapped_models(tmp_path):
    net = networks.EmbeddingNet(registry.get("ms-cub").torch)
    torch.save({"epoch": 1, "weights": net.state_dict(), "optimizer": {"state": {}}}, tmp_path / "m.pth")
    assert "into backbone and head" in networks.load_model(net, tmp_path / "m.pth")
    torch.save({"epoch": 1, "optimizer": {"state": {}}}, tmp_path / "m.pth")
    with pytest.raises(networks.WeightsError, match=r"m.pth: no state dicts .* one is expected: 'epoch', 'optimizer'"):
        networks.load_model(net, tmp_path / "m.pth")
