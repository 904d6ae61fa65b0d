"""Every recorded forward and backward of the authors' layers, except the paper losses (test_loss_layers*)."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.paths import DATA

from caffe_compat.formats import prototxt
from caffe_compat.layers import LAYERS

LOCAL = DATA / "layers"
PAPER_LOSSES = (
    "DistanceWeighted",
    "Contrastive",
    "Weighted",
    "OHPM",
    "Triplet",
    "UnifiedWeight",
    "ExtractProb",
    "Gaussian",
    "CAAChain",
)

# float64: the records hold the same formulas in another summation order; sums of at most 1e4 terms of like size lose
# below 1e4 * 1.1e-16 = 1e-12 (measured: 7e-15). float32: 1e-5 of the blob's RMS (measured: 4.3e-6).
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
# An entry may be the cancelling difference of terms of size 1, in one order exactly 0: a few ulp of 1 are allowed.
FLOOR = {"float64": 1e-12, "float32": 2e-7}
# Means of 6 * 15 values at 100 in float32 carry an error of about 100 * 6e-8 * sqrt(90) / 90 each, divided by a
# deviation of 1: the two summation orders differ by up to 2e-5 of the RMS. Their float64 records hold at 1e-10.
LOOSE_FLOAT32 = {"train_large_offset": 5e-5}


def _is_ours(case: dict) -> bool:
    return not case["layer"].startswith(PAPER_LOSSES)


def _cases(folder: Path) -> dict[str, list[dict]]:
    by_type = defaultdict(list)
    for case in json.loads((folder / "manifest.json").read_text())["cases"]:
        if _is_ours(case):
            by_type[case["layer"]].append(case)
    return by_type


def load_arrays(folder: Path, case: dict) -> dict[str, np.ndarray]:
    """The arrays of one case: a file of its own, or one folder of the common file."""
    if case["file"].endswith(".npz"):
        with np.load(folder / case["file"]) as npz:
            return dict(npz)
    prefix = case["file"] + "/"
    with np.load(folder / "layers.npz") as npz:
        return {name.removeprefix(prefix): npz[name] for name in npz.files if name.startswith(prefix)}


def build(case: dict, arrays: dict, count_tops: int):
    layer_param = case["layer_param"] + "".join(f' top: "t{i}"' for i in range(count_tops))
    message = prototxt.parse(layer_param, "LayerParameter", case["tree"])
    shapes = [arrays[f"bottom_{i}"].shape for i in range(count_of(arrays, "bottom_{}"))]
    layer = LAYERS[case["layer"]](message, shapes, dialect=case["tree"], phase=case["phase"])
    layer = layer.to(getattr(torch, case["dtype"]))
    assert len(layer.blobs) == count_of(arrays, "blob_{}")
    with torch.no_grad():
        for i, blob in enumerate(layer.blobs):
            assert tuple(blob.shape) == arrays[f"blob_{i}"].shape
            blob.copy_(torch.from_numpy(arrays[f"blob_{i}"]))
    return layer


def count_of(arrays: dict, pattern: str) -> int:
    count = 0
    while pattern.format(count) in arrays:
        count += 1
    return count


def compare(name: str, ours: torch.Tensor, expected: np.ndarray, tolerance: float) -> list[str]:
    ours, expected = ours.detach().cpu().numpy().astype(np.float64), expected.astype(np.float64)
    if ours.shape != expected.shape:
        return [f"{name}: shape {ours.shape}, recorded {expected.shape}"]
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(ours)):
        return [f"{name}: finite values in other places than recorded"]
    if not finite.any():
        return []
    rms = np.sqrt(np.mean(expected[finite] ** 2))
    error = np.abs(ours - expected)[finite].max()
    floor = FLOOR["float64" if tolerance <= TOLERANCE["float64"] else "float32"]
    return [] if error <= tolerance * rms + floor else [f"{name}: error {error:.3g} at RMS {rms:.3g}"]


def check(case: dict, folder: Path, device: str = "cpu") -> list[str]:
    """Differences from the record, as sentences."""
    tolerance = TOLERANCE[case["dtype"]]
    arrays = load_arrays(folder, case)
    dtype = getattr(torch, case["dtype"])
    count_tops = count_of(arrays, "top_{}")
    layer = build(case, arrays, count_tops).to(device)
    bottoms = []
    for i in range(len(layer.bottom_shapes)):
        bottom = torch.from_numpy(arrays[f"bottom_{i}"]).to(device, dtype)
        bottoms.append(bottom.requires_grad_(f"bottom_{i}_diff" in arrays))
    wrong = []
    expected_shapes = [arrays[f"top_{i}"].shape for i in range(count_tops)]
    if layer.top_shapes(layer.bottom_shapes) != expected_shapes:
        wrong.append(f"top_shapes {layer.top_shapes(layer.bottom_shapes)}, recorded {expected_shapes}")
    tops: tuple[torch.Tensor, ...] = ()
    for step in range(1, case.get("forwards", 1) + 1):
        tops = layer(*bottoms)
        for i, blob in enumerate(layer.blobs):
            key = f"blob_{i}_after_{step}_forward"
            if key in arrays:
                wrong += compare(key, blob, arrays[key], tolerance)
    for i, top in enumerate(tops):
        wrong += compare(f"top_{i}", top, arrays[f"top_{i}"], tolerance)
    seeds = [(top, arrays[f"top_{i}_diff"]) for i, top in enumerate(tops) if f"top_{i}_diff" in arrays]
    if any(key.endswith("_diff") and not key.startswith("top") for key in arrays):
        torch.autograd.backward([t for t, _ in seeds], [torch.from_numpy(d).to(device, dtype) for _, d in seeds])
        for i, bottom in enumerate(bottoms):
            if bottom.requires_grad:
                wrong += compare(f"bottom_{i}_diff", bottom.grad, arrays[f"bottom_{i}_diff"], tolerance)
        for i, blob in enumerate(layer.blobs):
            if f"blob_{i}_diff" in arrays and blob.requires_grad:
                wrong += compare(f"blob_{i}_diff", blob.grad, arrays[f"blob_{i}_diff"], tolerance)
    return [f"{case['tree']} {case['layer']} {case['case']} {case['dtype']}: {w}" for w in wrong]


TYPES = [
    "AbsVal",
    "Accuracy",
    "BatchNorm",
    "BatchPool",
    "Concat",
    "Convolution",
    "Dropout",
    "ELU",
    "Eltwise",
    "EuclideanLoss",
    "Exp",
    "Flatten",
    "InnerProduct",
    "LRN",
    "Normalization",
    "Normalize",
    "PReLU",
    "Pooling",
    "Power",
    "ReLU",
    "Reduction",
    "Reshape",
    "Scale",
    "Sigmoid",
    "Slice",
    "Softmax",
    "SoftmaxWithLoss",
    "Split",
    "TanH",
    "Tile",
]


def test_no_recorded_type_is_left_out(reference):
    assert sorted(_cases(reference / "layers")) == sorted(TYPES)


@pytest.mark.parametrize("layer_type", TYPES)
def test_recorded_layers(reference, layer_type):
    cases = _cases(reference / "layers")[layer_type]
    assert cases
    wrong = [w for case in cases for w in check(case, reference / "layers")]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer_type", TYPES)
def test_small_recorded_layers(layer_type):
    cases = _cases(LOCAL)[layer_type]
    assert cases
    wrong = [w for case in cases for w in check(case, LOCAL)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.gpu
@pytest.mark.parametrize("layer_type", TYPES)
def test_recorded_layers_on_cuda(reference, cuda, tf32, layer_type):
    tf32(False)
    wrong = [
        w for case in _cases(reference / "layers")[layer_type] for w in check(case, reference / "layers", device="cuda")
    ]
    assert not wrong, "\n".join(wrong)
