"""BN-Inception weights through every file format: features as the Python originals recorded them, and as CaffeNet's."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from caffe_compat.bn_inception import (
    UNITS,
    convert,
    from_caffe,
    layer_types,
    load_bn_inception,
    read_weights,
    save_bn_inception,
    to_caffe,
)
from caffe_compat.errors import CaffeFormatError
from caffe_compat.net import load_net
from caffe_compat.net.seeded import seed_weights
from caffe_compat.preprocessing import PREPROCESSING, Preprocessing
from ports.backbones.bn_inception import BNInception


def seeded(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights of the recorded forward passes: one stream per key; float32."""
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        values = 1 + 0.1 * np.abs(rng.randn(*shape))
    elif key.endswith("_bn.weight"):
        values = 1 + 0.1 * rng.randn(*shape)
    elif len(shape) == 1:
        values = 0.1 * rng.randn(*shape)
    else:
        values = rng.randn(*shape) * np.sqrt(2 / np.prod(shape[1:]))
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    shapes = {k: tuple(v.shape) for k, v in BNInception().state_dict().items()}
    return {k: torch.tensor(0) if "num_batches" in k else torch.from_numpy(seeded(k, s)) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy((np.random.RandomState(7).randn(2, 3, 96, 96) * 40).astype(np.float32))


def relative_error(got: Tensor, want: Tensor) -> float:
    """Largest difference relative to the RMS of `want`."""
    return ((got - want).abs().max() / want.square().mean().sqrt()).item()


@pytest.fixture(scope="module")
def features(state: dict[str, Tensor], images: Tensor) -> Tensor:
    module = BNInception(pool="avg").eval()
    module.load_state_dict(state)
    with torch.no_grad():
        return module(images)


def test_table_covers_the_module() -> None:
    keys = {k.rsplit(".", 1)[0] for k in BNInception().state_dict()}
    assert len(UNITS) == 69
    assert keys == set(UNITS.values()) | {f"{v}_bn" for v in UNITS.values()}


@pytest.mark.parametrize("name", ["new.pth", "old.pth", "a.pt", "a.safetensors", "a.caffemodel"])
def test_every_format_gives_the_same_features(
    name: str, tmp_path: Path, state: dict[str, Tensor], images: Tensor, features: Tensor
) -> None:
    path = tmp_path / name
    save_bn_inception(state, path, generation="old" if name == "old.pth" else "new")
    if name == "old.pth":
        raw = torch.load(path, weights_only=True)
        assert raw["conv1_7x7_s2_bn.weight"].shape == (1, 64)
        assert not any("num_batches" in k for k in raw)
    module = load_bn_inception(path)
    with torch.no_grad():
        error = relative_error(module(images), features)
    # Every format but Caffe's keeps the numbers bit for bit; there the bias moves into the mean: one float32 rounding
    # per unit, 69 units, each 6e-8 of its blob.
    assert error == 0 if name != "a.caffemodel" else error < 1e-5
    assert module.load_report.unused == []


@pytest.mark.parametrize("name", ["a.caffemodel", "a.safetensors", "a.pth"])
@pytest.mark.parametrize("widths", ["caffe", "pytorch"])
def test_a_net_without_convolution_biases(name: str, widths: str, tmp_path: Path, images: Tensor) -> None:
    """As a port of the authors' net is built; in the files' names the biases are 0."""
    torch.manual_seed(5)
    net = BNInception(pool="avg", widths=widths, conv_bias=False).eval()
    for key, value in net.state_dict().items():
        for ending, low, high in (("running_mean", -0.1, 0.1), ("running_var", 0.5, 1.5), ("_bn.bias", 0.0, 0.5)):
            if key.endswith(ending):
                value.uniform_(low, high)
    assert not any(key.endswith("conv2_3x3.bias") for key in net.state_dict())
    save_bn_inception(net, tmp_path / name)
    again = load_bn_inception(tmp_path / name)
    assert again.load_report.unused == [] and not again.state_dict()["conv2_3x3.bias"].any()
    with torch.no_grad():
        assert net(images).std() > 0
        # oneDNN adds a bias of 0 in its own way: rounding of 69 units, each 6e-8 of its blob
        assert relative_error(again(images), net(images)) < 1e-5


def test_bias_in_the_mean_is_needed(state: dict[str, Tensor], images: Tensor, features: Tensor) -> None:
    """Mutation: dropping the convolution biases on the way to Caffe is seen far above the tolerance."""
    broken = {k: torch.zeros_like(v) if k.endswith(".bias") and "_bn" not in k else v for k, v in state.items()}
    module = BNInception(pool="avg").eval()
    module.load_state_dict(from_caffe(to_caffe(broken))[0])
    with torch.no_grad():
        assert relative_error(module(images), features) > 1e-2


def test_divisor_of_the_running_sums(state: dict[str, Tensor]) -> None:
    layers = to_caffe(state)
    for name, blobs in layers.items():
        if name.endswith("/bn"):
            layers[name] = [blobs[0] * 8, blobs[1] * 8, blobs[2] * 8]
    again, _ = from_caffe(layers)
    plain, _ = from_caffe(to_caffe(state))
    assert all(torch.equal(again[k], plain[k]) for k in plain)  # powers of two: exact
    layers["conv1/7x7_s2/bn"][2] = np.zeros(1, np.float32)
    fresh, _ = from_caffe(layers)
    assert (fresh["conv1_7x7_s2_bn.running_var"] == 0).all()  # as Caffe's TEST phase takes it


@pytest.mark.parametrize("prefix", ["backbone.", "module.", "module.backbone."])
def test_training_checkpoints_with_prefix_and_head(prefix: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    content = {prefix + k: v for k, v in state.items()} | {"head.fc.weight": torch.zeros(4, 1024)}
    torch.save({"model": content, "iteration": 3}, tmp_path / "best_model.pth")
    module = load_bn_inception(tmp_path / "best_model.pth", pool="max")
    assert module.load_report.unused == ["head.fc.weight"]
    assert torch.equal(module.state_dict()["conv2_3x3.bias"], state["conv2_3x3.bias"])


@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict", "net"])
def test_wrappers_of_any_name(wrapper: str, tmp_path: Path, state: dict[str, Tensor]) -> None:
    """Proxy-Anchor writes {"model_state_dict": {"model.conv1_7x7_s2.weight": ...}}, with its embedding layer."""
    content = {"model." + k: v for k, v in state.items()} | {"model.embedding.weight": torch.zeros(4, 1024)}
    torch.save({"epoch": 3, "optimizer": {"state": {}}, wrapper: content}, tmp_path / "best.pth")
    module = load_bn_inception(tmp_path / "best.pth")
    assert module.load_report.unused == ["model.embedding.weight"]
    assert torch.equal(module.state_dict()["conv2_3x3.bias"], state["conv2_3x3.bias"])


def test_a_wrapper_without_the_trunk_names_its_keys(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"epoch": 3, "a": {"b": state}}, tmp_path / "deep.pth")
    with pytest.raises(CaffeFormatError, match=r"deep.pth: .*nor one level below: .*its keys: 'epoch', 'a'$"):
        load_bn_inception(tmp_path / "deep.pth")


def test_classifier_is_kept_on_request(tmp_path: Path, state: dict[str, Tensor]) -> None:
    full = state | {"last_linear.weight": torch.randn(1000, 1024), "last_linear.bias": torch.randn(1000)}
    path = tmp_path / "a.caffemodel"
    save_bn_inception(full, path)
    module = load_bn_inception(path, classifier=True)
    assert torch.equal(module.last_linear.weight, full["last_linear.weight"])
    backbone = load_bn_inception(path)
    assert backbone.num_classes is None
    assert backbone.load_report.unused == ["last_linear.weight", "last_linear.bias"]
    save_bn_inception(state, path)
    with pytest.raises(ValueError, match="no classifier"):
        load_bn_inception(path, classifier=True)


def test_preprocessing_travels(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_bn_inception(state, tmp_path / "a.caffemodel")
    report = convert(tmp_path / "a.caffemodel", tmp_path / "b.safetensors")
    assert report.unused == []
    module = load_bn_inception(tmp_path / "b.safetensors")
    assert module.preprocessing == PREPROCESSING["rll_cvpr19"]
    assert module.preprocessing.mean == (104.0, 117.0, 123.0)
    save_bn_inception(state, tmp_path / "c.pth")
    assert read_weights(tmp_path / "c.pth")[1].mean == (104.0, 117.0, 128.0)
    assert Preprocessing.from_json(PREPROCESSING["osm_aaai19"].to_json()) == PREPROCESSING["osm_aaai19"]
    with pytest.raises(ValueError, match="not a preprocessing description"):
        Preprocessing.from_json("[1]")


def test_layer_types(state: dict[str, Tensor]) -> None:
    types = layer_types(to_caffe(state))
    assert types["conv1/7x7_s2"] == "Convolution"
    assert types["conv1/7x7_s2/bn"] == "BatchNorm"
    assert types["conv1/7x7_s2/bn/sc"] == "Scale"


def _cut(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if k != "conv2_3x3.bias"}


def _wrong_shape(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"conv2_3x3.weight": torch.zeros(192, 64, 1, 1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [(_cut, '"conv2_3x3.bias"'), (_wrong_shape, r"\(192, 64, 1, 1\), expected \(192, 64, 3, 3\)")],
)
def test_wrong_files_name_key_and_shapes(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], message: str, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    torch.save(change(state), tmp_path / "x.pth")
    with pytest.raises(CaffeFormatError, match=message) as error:
        load_bn_inception(tmp_path / "x.pth")
    assert "x.pth" in str(error.value)


def test_foreign_pickles_are_not_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return (Path.touch, (tmp_path / "touched",))  # type: ignore[return-value]

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CaffeFormatError, match=r"evil\.pth"):
        load_bn_inception(tmp_path / "evil.pth")
    assert not (tmp_path / "touched").exists()
    (tmp_path / "junk.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(CaffeFormatError, match=r"junk\.safetensors"):
        load_bn_inception(tmp_path / "junk.safetensors")
    with pytest.raises(CaffeFormatError, match="unknown suffix"):
        load_bn_inception(__file__)
    with pytest.raises(FileNotFoundError, match=r"gone\.pth"):
        load_bn_inception(tmp_path / "gone.pth")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"old")

    def fail(_: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_bn_inception(state, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("original", ["cadene", "deep_metric", "ret_benchmark"])
def test_keys_and_shapes_of_the_originals(reference: Path, original: str) -> None:
    """The state dicts of the three originals, as recorded, load without anything missing."""
    shapes = json.loads((reference / f"python/bninception/state_dict_{original}.json").read_text())
    from caffe_compat.bn_inception import _normalised

    _, report = _normalised({k: torch.zeros(s) for k, s in shapes.items()}, original)
    heads = {"cadene": 0, "deep_metric": 7, "ret_benchmark": 2}
    assert len(report.unused) == heads[original]


@pytest.mark.parametrize(("name", "tolerance"), [("a.safetensors", 1e-12), ("old.pth", 1e-12), ("a.caffemodel", 1e-5)])
@pytest.mark.parametrize("pool", ["max", "avg"])
def test_recorded_features_of_the_python_originals(
    reference: Path, tmp_path: Path, state: dict[str, Tensor], pool: str, name: str, tolerance: float
) -> None:
    """Seeded weights through a file, then in float64 against the features that the originals computed in float64.

    Relative to the RMS. Caffe's file keeps mean - bias in float32: 6e-8 per unit, 69 units; the others lose nothing.
    """
    recorded = np.load(reference / "python/bninception/final_cadene_224.npz")[f"global_{pool}_pool"]
    save_bn_inception(state, tmp_path / name, generation="old" if name == "old.pth" else "new")
    module = load_bn_inception(tmp_path / name, pool=pool).double()
    images = torch.from_numpy((np.random.RandomState(7).randn(2, 3, 224, 224) * 40).astype(np.float32)).double()
    with torch.no_grad():
        assert relative_error(module(images), torch.from_numpy(recorded)) < tolerance


DEPLOY = "prototxt/rll_cvpr19/SOP_GoogLeNet_Ori_V05/deploy_prototxts/test_H.prototxt"


def test_equals_caffenet_in_every_format(reference: Path, tmp_path: Path) -> None:
    """The authors' deploy net and the module agree through each file, there and back: DESIGN's 1e-5 of the RMS."""
    net = load_net(reference / DEPLOY, dialect="rll_cvpr19")
    seed_weights(net)
    # Sums as a trained net has them: divisor near 1/(1 - 0.999), not 1.
    for name, blobs in net.params.items():
        if name.endswith("/bn"):
            for blob in blobs:
                blob *= 987.25
    net.save_caffemodel(tmp_path / "net.caffemodel")
    images = torch.from_numpy((np.random.RandomState(7).randn(1, 3, 224, 224) * 40).astype(np.float32))
    with torch.no_grad():
        net(data=images)
        want = net.blobs["pool5/7x7_s1/pre_fc"].flatten(1).clone()
    names = ["net.caffemodel", "a.safetensors", "old.pth", "new.pth", "again.caffemodel"]
    for source, target in pairwise(names):  # each is made from the one before
        convert(tmp_path / source, tmp_path / target, generation="old" if target == "old.pth" else "new")
    for name in names:
        module = load_bn_inception(tmp_path / name)
        assert module.load_report.unused == (["pool5/7x7_s1/fc"] if name == "net.caffemodel" else [])
        with torch.no_grad():
            assert relative_error(module(images), want) < 1e-5, name
    back = load_net(reference / DEPLOY, dialect="rll_cvpr19")
    report = back.load_caffemodel(tmp_path / "again.caffemodel")
    assert report.only_in_file == []
    assert report.only_in_net == ["pool5/7x7_s1/fc"]
    with torch.no_grad():
        back(data=images)
    assert relative_error(back.blobs["pool5/7x7_s1/pre_fc"].flatten(1), want) < 1e-5


@pytest.mark.parametrize("name", ["net.caffemodel", "net.pth", "net.safetensors"])
def test_the_authors_narrower_net_makes_the_round_trip(tmp_path, name):
    """GoogLeNet-BN of the Caffe nets has 96 channels where the PyTorch weights have 128 (4c and 4d, pool_proj)."""
    module = BNInception(pool="avg", widths="caffe").eval()
    save_bn_inception(module, tmp_path / name)
    loaded = load_bn_inception(tmp_path / name)
    assert loaded.widths == "caffe"
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), module(x), rtol=1e-5, atol=1e-5)


def test_preprocessing_survives_a_pth(tmp_path):
    module = load_bn_inception().requires_grad_(False)
    save_bn_inception(module, tmp_path / "a.caffemodel")
    convert(tmp_path / "a.caffemodel", tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    for name in ("a.caffemodel", "a.pth", "a.safetensors"):
        assert load_bn_inception(tmp_path / name).preprocessing == PREPROCESSING["rll_cvpr19"], name
    # It is no key of the dict, so that any program reads the file.
    assert set(torch.load(tmp_path / "a.pth", weights_only=True)) == set(module.state_dict())
