"""ONNX files against onnxruntime: a tiny net at once, every deploy net of the authors when slow tests run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats import prototxt
from caffe_compat.net import load_net
from caffe_compat.net.seeded import seed_weights
from caffe_compat.preprocessing import PREPROCESSING, Preprocessing
from caffe_compat.tools import export as export_module
from caffe_compat.tools.export import TOLERANCE, export, export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

#: Each different deploy file once; CUB's and Market-1501's GoogLeNets are SOP's, CARS196's and MARS' are CUB's.
SOP, TPAMI = "SOP_GoogLeNet_Ori_V05", "SOP_Simp_25042020"
MARKET = "Market1501_GooLeNetV2_V02_11042020"
DEPLOY = [
    *[f"rll_cvpr19/{SOP}/deploy_prototxts/test_{n}" for n in ("H", "L", "M", "concat")],
    *[f"rll_tpami/{TPAMI}/deploy_prototxts/test_{n}" for n in ("H", "L", "M", "concat")],
    *[f"rll_tpami/{TPAMI}/deploy_prototxts/test_{n}_d64" for n in ("H", "L", "M", "LH", "LM", "MH", "concat")],
    *[f"rll_tpami/{MARKET}/deploy_prototxts/{n}" for n in ("testResNet50", "testResNet50_pool5", "test_selfx4")],
    "osm_aaai19/CUB_V01/M_WIDE_ASiamese_V42_e1/test_M",
]
#: The last layer of the nets with three heads. Files that differ in it alone, as it joins other heads in each, are exported as
#: one net: tracing takes nearly all of a test's time.
JOIN = "features_concat"
TOGETHER = [
    tuple(f"rll_cvpr19/{SOP}/deploy_prototxts/test_{n}" for n in ("concat", "L", "M")),
    tuple(f"rll_tpami/{TPAMI}/deploy_prototxts/test_{n}" for n in ("concat", "L", "M")),
    tuple(f"rll_tpami/{TPAMI}/deploy_prototxts/test_{n}_d64" for n in ("concat", "L", "M", "LH", "LM", "MH")),
]


@pytest.fixture(scope="module")
def tiny_onnx(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder, path = tiny / "rll_cvpr19", tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    return path, export(folder / "deploy.prototxt", folder / "init.caffemodel", path, dialect="rll_cvpr19")


def test_tiny_net(tiny: Path, tiny_onnx: tuple[Path, Any]) -> None:
    path, report = tiny_onnx
    assert report.opset >= 19
    assert report.inputs == {"data": ("batch", 3, 19, 19)}
    assert report.outputs == ["fc/L2Norm"]
    assert max(report.relative_error.values()) < TOLERANCE
    assert "largest error" in str(report)
    # Once more from the file, at a batch size that the export did not try, against what Caffe recorded for its input.
    recorded = np.load(tiny / "rll_cvpr19" / "deploy_forward_f64.npz")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = (np.random.RandomState(7).randn(2, 3, 19, 19) * 40).astype(np.float32)
    (got,) = session.run(None, {"data": np.concatenate([images] * 3)})
    want = recorded["blob:fc/L2Norm"].reshape(2, -1)
    assert np.abs(got.reshape(6, -1) - np.concatenate([want] * 3)).max() < TOLERANCE * np.sqrt(np.mean(want**2))


def test_metadata(tiny_onnx: tuple[Path, Any]) -> None:
    facts = {p.key: p.value for p in onnx.load(tiny_onnx[0]).metadata_props}
    # The fork's pipeline, cropped to the size that this file takes.
    assert Preprocessing.from_json(facts["preprocessing"]) == replace(PREPROCESSING["rll_cvpr19"], size=19)
    assert facts["dialect"] == "rll_cvpr19"
    assert facts["net"] == "Tiny"


def test_stock_nets_name_their_preprocessing_or_have_none(tmp_path: Path) -> None:
    net = load_net(
        'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8'
        ' layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'
    )
    assert export_onnx(net, tmp_path / "a.onnx").preprocessing is None
    assert "preprocessing" not in {p.key for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    named = export_onnx(net, tmp_path / "b.onnx", preprocessing=PREPROCESSING["osm_aaai19"])
    assert named.preprocessing == replace(PREPROCESSING["osm_aaai19"], size=8, resize_size=8)  # no crop there


def test_a_graph_that_computes_something_else_is_not_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny / "rll_cvpr19"
    net = load_net(folder / "deploy.prototxt", folder / "init.caffemodel", dialect="rll_cvpr19")
    real = torch.onnx.export

    def wrong(*args: Any, **kw: Any) -> Any:
        model = real(*args, **kw).model_proto  # a copy of the weights, before they change
        with torch.no_grad():
            net.params["fc"][0][0, 0] += 0.01
        return SimpleNamespace(model_proto=model)

    monkeypatch.setattr(export_module.torch.onnx, "export", wrong)
    with pytest.raises(CaffeFormatError, match="onnxruntime differs by"):
        export_onnx(net, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_net_that_overflows_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = tiny / "rll_cvpr19"
    net = load_net(folder / "deploy.prototxt", folder / "init.caffemodel", dialect="rll_cvpr19")
    with torch.no_grad():
        net.params["fc"][0].fill_(float("inf"))
    with pytest.raises(ValueError, match="were weights loaded"):
        export_onnx(net, tmp_path / "x.onnx")


def test_refusals(tiny: Path, tmp_path: Path) -> None:
    folder = tiny / "rll_cvpr19"
    net = load_net(folder / "deploy.prototxt", dialect="rll_cvpr19")
    with pytest.raises(ValueError, match="no blob 'nothing'"):
        export_onnx(net, tmp_path / "x.onnx", outputs=["nothing"])
    with pytest.raises(ValueError, match="at least 19, got 11"):
        export_onnx(net, tmp_path / "x.onnx", opset=11)
    with pytest.raises(ValueError, match=r"net\.float\(\)"):
        export_onnx(net.double(), tmp_path / "x.onnx")
    with pytest.raises(ValueError, match=r'layer "loss" .* is a loss'):
        export_onnx(load_net(folder / "train.prototxt", dialect="rll_cvpr19"), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
    train = load_net(folder / "train.prototxt", phase="TRAIN", dialect="rll_cvpr19")
    with pytest.raises(ValueError, match="phase TRAIN"):
        export_onnx(train, tmp_path / "x.onnx")


@pytest.fixture(scope="module")
def exported_together(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Any]:
    """An onnxruntime session, made once, of files that differ in JOIN alone: a net with each file's own, by `joined(name)`."""

    @functools.cache
    def together(names: tuple[str, ...]) -> Any:
        first, *others = (deploy(reference, name) for name in names)
        whole = type(first)()
        whole.CopyFrom(first)
        whole.layer.pop()
        for name, message in zip(names, (first, *others)):
            *trunk, join = message.layer
            assert join.name == JOIN and list(message.input) == list(first.input)
            assert trunk == list(first.layer)[:-1], f"{name} differs from {names[0]} in more than {JOIN}"
            join.name = join.top[0] = joined(name)
            whole.layer.append(join)
        net = load_net(whole, dialect=names[0].split("/")[0])
        seed_weights(net)
        path = tmp_path_factory.mktemp("together") / "net.onnx"
        heads = [bottom for layer in whole.layer[-len(names) :] for bottom in layer.bottom]
        export_onnx(net, path, outputs=[*dict.fromkeys(heads), *map(joined, names)], batch_sizes=[3])
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    return together


def deploy(reference: Path, name: str) -> Any:
    return prototxt.read_net(reference / f"prototxt/{name}.prototxt", dialect=name.split("/")[0])


def joined(name: str) -> str:
    return f"{JOIN} of {name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DEPLOY if name not in sum(TOGETHER, ())])
def test_deploy_nets(reference: Path, tmp_path: Path, name: str) -> None:
    net = load_net(reference / f"prototxt/{name}.prototxt", dialect=name.split("/")[0])
    seed_weights(net)
    report = export_onnx(net, tmp_path / "net.onnx", batch_sizes=[3])  # exported from an example of 2
    print(report)
    assert report.opset >= 19
    assert max(report.relative_error.values()) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("names, name", [(names, name) for names in TOGETHER for name in names])
def test_deploy_nets_of_one_trunk(reference: Path, exported_together, names: tuple[str, ...], name: str) -> None:
    """The file's own net against the ONNX file of all that share its trunk."""
    session = exported_together(names)
    sides = session.get_inputs()[0].shape[1:]
    message = deploy(reference, name)
    message.input_dim[1:] = sides
    net = load_net(message, dialect=name.split("/")[0])
    seed_weights(net)
    outputs = [joined(name) if output == message.layer[-1].top[0] else output for output in net.plan.outputs]
    assert joined(name) in outputs
    images = (np.random.default_rng(1).standard_normal((3, *sides)) * 40).astype(np.float32)
    with torch.no_grad():
        wanted = net(data=torch.from_numpy(images)).values()
    for got, want in zip(session.run(outputs, {"data": images}), wanted, strict=True):
        assert np.abs(got - want.numpy()).max() < TOLERANCE * np.sqrt(np.mean(np.square(want.numpy())))


def test_every_deploy_file_is_in_the_list(reference: Path) -> None:
    root = reference / "prototxt"
    listed = {(root / f"{name}.prototxt").read_bytes() for name in DEPLOY}
    assert len(listed) == len(DEPLOY)
    assert {p.read_bytes() for p in root.glob("**/test*.prototxt")} == listed
