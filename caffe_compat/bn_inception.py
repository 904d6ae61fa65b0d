"""BN-Inception weights between googlenet_bn.caffemodel and the PyTorch files, by an explicit table of names.

A Caffe unit is Convolution (usually without bias) -> BatchNorm (sums of means and variances and the blob that divides
them) -> Scale; a PyTorch unit is a convolution with bias -> BatchNorm2d. So

* reading Caffe: running_mean = blob0 / blob2, running_var = blob1 / blob2 (0 when blob2 is 0), a missing bias is 0;
* writing Caffe: blob2 = 1, and a bias b moves into the mean: BN(Wx + b; mean) = BN(Wx; mean - b).

PyTorch files come in two generations: BN vectors of shape (1, C) (bn_inception-239d2248.pth) and (C,)
(bn_inception-52deb4733.pth, with num_batches_tracked). Both are read; (C,) is what we write unless asked.

The authors' net is narrower than the PyTorch one (pool_proj of 4c and 4d: 96 channels, not 128). Either is converted into
every format, but a .caffemodel made from the PyTorch weights does not fit the authors' prototxts.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats.caffemodel import read_caffemodel, write_caffemodel
from caffe_compat.preprocessing import METADATA_KEY, PREPROCESSING, Preprocessing
from caffe_compat.pth import read_pth
from ports.backbones.bn_inception import BLOCKS, BNInception, widths_of
from ports.files import atomic_path

log = logging.getLogger(__name__)

#: What a branch is called in a Caffe net and in a PyTorch module.
_BRANCHES = (
    ("1x1", "1x1"),
    ("3x3_reduce", "3x3_reduce"),
    ("3x3", "3x3"),
    ("double3x3_reduce", "double_3x3_reduce"),
    ("double3x3a", "double_3x3_1"),
    ("double3x3b", "double_3x3_2"),
    ("pool_proj", "pool_proj"),
)
_STRIDE_BRANCHES = ("3x3_reduce", "3x3", "double3x3_reduce", "double3x3a", "double3x3b")


def _units() -> dict[str, str]:
    units = {"conv1/7x7_s2": "conv1_7x7_s2", "conv2/3x3_reduce": "conv2_3x3_reduce", "conv2/3x3": "conv2_3x3"}
    for block in BLOCKS:
        for caffe, ours in _BRANCHES:
            if block.stride == 1 or caffe in _STRIDE_BRANCHES:
                units[f"{block.name}/{caffe}"] = f"{block.name}_{ours}"
    return units


#: Caffe's name of each of the 69 convolutions -> the PyTorch module. Its BatchNorm is "<caffe>/bn", its Scale
#: "<caffe>/bn/sc"; both together are "<module>_bn".
UNITS: dict[str, str] = _units()
#: 1000-way ImageNet classifier, where a file has one.
CLASSIFIER = ("loss3/classifier", "last_linear")
#: Prefixes that training programs put in front of every key (a run's checkpoint; DataParallel; research-ms-loss; Proxy-Anchor).
_PREFIXES = ("net/", "module.", "backbone.", "model.")
_FIRST = "conv1_7x7_s2.weight"
BN_VECTORS = ("weight", "bias", "running_mean", "running_var")


@dataclass
class LoadReport:
    """Where weights came from, and the names in the file that were not used (auxiliary heads, classifiers)."""

    source: str
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"BN-Inception from {self.source}" + (f"; not used: {', '.join(self.unused)}" if self.unused else "")


class PretrainedBNInception(BNInception):
    """A `BNInception` that knows how its inputs are made and what its file held besides."""

    preprocessing: Preprocessing | None = None
    load_report: LoadReport = LoadReport("<fresh>")


def from_caffe(
    layers: Mapping[str, list[NDArray[Any]]], *, source: str = "<blobs>"
) -> tuple[dict[str, Tensor], LoadReport]:
    """State dict (float32, names of `BNInception`) from the layers of a .caffemodel: {name: [blobs]}.

    Raises CaffeFormatError naming the first missing layer, or the layer whose number of blobs or shape does not fit.
    """
    state: dict[str, Tensor] = {}
    used = set()

    def take(name: str, counts: tuple[int, ...]) -> list[NDArray[Any]]:
        blobs = layers.get(name)
        if blobs is None:
            raise CaffeFormatError(f'no layer "{name}": not the weights of a BN-Inception', file=source)
        if len(blobs) not in counts:
            expected = " or ".join(map(str, counts))
            raise CaffeFormatError(f'layer "{name}" has {len(blobs)} blobs, expected {expected}', file=source)
        used.add(name)
        return [np.asarray(blob, np.float32) for blob in blobs]

    for caffe, ours in UNITS.items():
        weight, *bias = take(caffe, (1, 2))
        mean, variance, divisor = take(f"{caffe}/bn", (3,))
        gamma, beta = take(f"{caffe}/bn/sc", (2,))
        # As the BatchNorm layer does: multiply by the reciprocal; a fresh net has 0, which gives 0 and not 1/0.
        factor = np.float32(0) if divisor.ravel()[0] == 0 else np.float32(1) / divisor.ravel()[0]
        state[f"{ours}.weight"] = torch.from_numpy(weight.copy())
        state[f"{ours}.bias"] = torch.from_numpy(
            (bias[0] if bias else np.zeros(len(weight), np.float32)).ravel().copy()
        )
        for key, value in zip(BN_VECTORS, (gamma, beta, mean * factor, variance * factor)):
            state[f"{ours}_bn.{key}"] = torch.from_numpy(value.ravel().copy())
        state[f"{ours}_bn.num_batches_tracked"] = torch.tensor(0)
    if CLASSIFIER[0] in layers:
        weight, bias_ = take(CLASSIFIER[0], (2,))
        state[f"{CLASSIFIER[1]}.weight"] = torch.from_numpy(weight.reshape(len(weight), -1).copy())
        state[f"{CLASSIFIER[1]}.bias"] = torch.from_numpy(bias_.ravel().copy())
    # A .caffemodel also lists layers without blobs (ReLU, Pooling); only weights can be left over.
    return state, LoadReport(source, unused=[n for n, blobs in layers.items() if n not in used and len(blobs)])


def to_caffe(state: Mapping[str, Tensor]) -> dict[str, list[NDArray[Any]]]:
    """Layers of a .caffemodel, in the net's order, from a `BNInception` state dict (either generation).

    The blobs are those of the authors' prototxts: a convolution without bias, BatchNorm with divisor 1. The classifier
    goes along if there is one. Evaluation gives the same numbers to rounding. In training, divisor 1 makes the first
    batch count a half of the new running statistics, where a long-trained Caffe net (divisor near 1000) gives it a
    thousandth.
    """
    state, _ = _normalised(state, "<state dict>")
    layers: dict[str, list[NDArray[Any]]] = {}
    for caffe, ours in UNITS.items():
        gamma, beta, mean, variance = (state[f"{ours}_bn.{key}"].numpy() for key in BN_VECTORS)
        layers[caffe] = [state[f"{ours}.weight"].numpy()]
        layers[f"{caffe}/bn"] = [mean - state[f"{ours}.bias"].numpy(), variance, np.ones(1, np.float32)]
        layers[f"{caffe}/bn/sc"] = [gamma, beta]
    if f"{CLASSIFIER[1]}.weight" in state:
        layers[CLASSIFIER[0]] = [state[f"{CLASSIFIER[1]}.weight"].numpy(), state[f"{CLASSIFIER[1]}.bias"].numpy()]
    return layers


def _normalised(state: Mapping[str, Any], source: str) -> tuple[dict[str, Tensor], LoadReport]:
    """A PyTorch state dict of either generation, with or without prefix, in today's names and shapes, float32.

    A net whose convolutions have no bias at all, as Caffe's, gets biases of 0.
    """
    keys = {key: key for key in state}
    for prefix in _PREFIXES:
        keys = {k.removeprefix(prefix): original for k, original in keys.items()}
    # The authors' Caffe net is narrower at 4c and 4d than the PyTorch weights; the same names serve both.
    probe = state.get(keys.get("inception_4c_pool_proj.weight", ""))
    widths = widths_of({"inception_4c_pool_proj.weight": probe}) if isinstance(probe, Tensor) else "pytorch"
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in BNInception(pool="avg", widths=widths).state_dict().items()}
    biases = {f"{ours}.bias" for ours in UNITS.values()}
    without = biases if biases.isdisjoint(keys) else set()
    new: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        if key in without:
            new[key] = torch.zeros(shape)
            continue
        if key.endswith("num_batches_tracked"):
            new[key] = state[keys[key]].reshape(()).long() if key in keys else torch.tensor(0)
            continue
        if key not in keys:
            raise CaffeFormatError(f'no key "{key}": not the weights of a BN-Inception', file=source)
        value = state[keys[key]]
        if not isinstance(value, Tensor):
            raise CaffeFormatError(f'"{keys[key]}" is no tensor but {type(value).__name__}', file=source)
        if tuple(value.shape) == (1, *shape) and "_bn." in key:
            value = value.reshape(shape)
        if tuple(value.shape) != shape:
            raise CaffeFormatError(f'"{keys[key]}" has shape {tuple(value.shape)}, expected {shape}', file=source)
        new[key] = value.detach().float().cpu().contiguous()
    for key in (f"{CLASSIFIER[1]}.weight", f"{CLASSIFIER[1]}.bias"):
        if key in keys:
            new[key] = state[keys[key]].detach().float().cpu().contiguous()
    return new, LoadReport(source, unused=[original for k, original in keys.items() if k not in new])


def _read_pth(path: Path) -> Mapping[str, Any]:
    content = read_pth(path)
    if not isinstance(content, Mapping):
        raise CaffeFormatError(f"holds a {type(content).__name__}, expected a state dict", file=path)
    # Training programs save more than weights: {"model_state_dict": ..., "optimizer": ..., "epoch": ...}.
    for state in (content, *(value for value in content.values() if isinstance(value, Mapping))):
        if any(isinstance(key, str) and key.endswith(_FIRST) for key in state):
            return state
    keys = ", ".join(map(repr, list(content)[:8])) + (", ..." if len(content) > 8 else "")
    raise CaffeFormatError(
        f"no key {_FIRST!r} in it, nor one level below: not the weights of a BN-Inception; its keys: {keys or 'none'}",
        file=path,
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Preprocessing | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            described = (file.metadata() or {}).get(METADATA_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        return tensors, Preprocessing.from_json(described) if described else None
    except (SafetensorError, ValueError, RuntimeError, MemoryError, OSError) as error:
        raise CaffeFormatError(f"not a safetensors file ({error})", file=path) from None


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], Preprocessing, LoadReport]:
    """State dict in today's PyTorch names, preprocessing and report of a weights file; the suffix names the format.

    .caffemodel and .caffemodel.h5 (preprocessing: the authors' RLL), .pth/.pt/.pth.tar and .safetensors (what
    we wrote into them; PyTorch lineage where they say nothing). Raises CaffeFormatError, FileNotFoundError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    if path.name.endswith((".caffemodel", ".caffemodel.h5", ".h5")):
        state, report = from_caffe(read_caffemodel(path), source=str(path))
        return state, PREPROCESSING["rll_cvpr19"], report
    if path.suffix == ".safetensors":
        tensors, preprocessing = _read_safetensors(path)
        state, report = _normalised(tensors, str(path))
        return state, preprocessing or PREPROCESSING["pytorch"], report
    if path.name.endswith((".pth", ".pt", ".pth.tar")):
        content = _read_pth(path)
        state, report = _normalised(content, str(path))
        described = getattr(content, METADATA_KEY, None)
        try:
            return state, Preprocessing.from_json(described) if described else PREPROCESSING["pytorch"], report
        except ValueError as error:
            raise CaffeFormatError(str(error), file=path) from None
    raise CaffeFormatError("unknown suffix; expected .caffemodel, .caffemodel.h5, .pth, .pt or .safetensors", file=path)


def load_bn_inception(
    weights: str | Path | None = None, *, pool: str = "avg", classifier: bool = False, freeze_bn: bool = False
) -> PretrainedBNInception:
    """BN-Inception as a plain nn.Module with the common PyTorch names, in evaluation mode; (N, 3, H, W) -> (N, 1024).

    weights: googlenet_bn.caffemodel (or .h5), a bn_inception .pth of either generation, .safetensors; None: fresh.
    pool: "avg" (the Caffe nets), "max" (research-ms-loss, Deep_Metric) or "none".
    classifier: keep the file's 1000-way ImageNet classifier (`last_linear`); the output is then (N, 1000).

    The module carries `preprocessing` (a `Preprocessing`, or None for fresh weights) and `load_report` (names in the
    file that were not used: auxiliary heads, classifiers). Input channels are in `preprocessing.channel_order`.

    Raises CaffeFormatError for a file that is no BN-Inception, ValueError for `classifier` where the file has none.
    """
    if weights is None:
        return PretrainedBNInception(pool=pool, num_classes=1000 if classifier else None, freeze_bn=freeze_bn).eval()
    state, preprocessing, report = read_weights(weights)
    head = [f"{CLASSIFIER[1]}.weight", f"{CLASSIFIER[1]}.bias"]
    classes = None
    if classifier:
        if head[0] not in state:
            raise ValueError(f"{weights} has no classifier (last_linear or loss3/classifier)")
        classes = len(state[head[0]])
    else:
        report.unused += [key for key in head if state.pop(key, None) is not None]
    module = PretrainedBNInception(pool=pool, num_classes=classes, freeze_bn=freeze_bn, widths=widths_of(state))
    module.load_state_dict(state)
    module.preprocessing, module.load_report = preprocessing, report
    if report.unused:
        log.info("%s: not used: %s", weights, ", ".join(report.unused))
    return module.eval()


def save_bn_inception(
    weights: torch.nn.Module | Mapping[str, Tensor],
    path: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    generation: str = "new",
) -> None:
    """Write a BN-Inception (module or state dict) as .caffemodel, .safetensors, .pth or .pt.

    Not as .caffemodel.h5: its layer names hold "/", which an HDF5 file of Caffe cannot have.

    preprocessing: kept in the safetensors metadata; default: the module's own.
    generation: "old" writes a .pth with BN vectors of shape (1, C) and without num_batches_tracked.
    """
    path = Path(path)
    if isinstance(weights, torch.nn.Module):
        preprocessing = preprocessing or getattr(weights, "preprocessing", None)
        weights = weights.state_dict()
    state, _ = _normalised(weights, "<module>")
    if path.name.endswith(".caffemodel"):
        layers = to_caffe(state)
        write_caffemodel(path, layers, types=layer_types(layers))
    elif path.suffix == ".safetensors":
        from safetensors.torch import save_file

        metadata = {"format": "pt"} | ({METADATA_KEY: preprocessing.to_json()} if preprocessing else {})
        with atomic_path(path) as temporary:
            save_file(state, temporary, metadata)
    elif path.name.endswith((".pth", ".pt")):
        if generation == "old":
            state = {
                k: v.reshape(1, -1) if "_bn." in k else v for k, v in state.items() if "num_batches_tracked" not in k
            }
        # An attribute of the dict, not a key: load_state_dict does not see it, and weights_only reads it.
        described = OrderedDict(state)
        if preprocessing:
            described.__dict__[METADATA_KEY] = preprocessing.to_json()
        with atomic_path(path) as temporary:
            torch.save(described, temporary)
    else:
        raise ValueError(f"{path}: unknown suffix; expected .caffemodel, .safetensors, .pth or .pt")


def layer_types(layers: Mapping[str, object]) -> dict[str, str]:
    """Caffe's type of each layer of `to_caffe`'s result."""
    suffixes = (("/bn/sc", "Scale"), ("/bn", "BatchNorm"), ("/classifier", "InnerProduct"))
    return {name: next((t for s, t in suffixes if name.endswith(s)), "Convolution") for name in layers}


def convert(source: str | Path, target: str | Path, *, generation: str = "new") -> LoadReport:
    """Convert a BN-Inception file into the format of `target`'s suffix; the report says what was left behind."""
    state, preprocessing, report = read_weights(source)
    save_bn_inception(state, target, preprocessing=preprocessing, generation=generation)
    return report
