"""The released Caffe losses against what the authors' layers computed, value and gradient, every recorded case."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.loss_records import ATOL, CASES, REFERENCE, RTOL, arrays_of

from ports.losses import (
    CaffeContrastiveLoss,
    CaffeContrastiveLossV2,
    CaffeTripletLoss,
    ClassAwareAttention,
    HardestPairLoss,
    OnlineSoftMiningLoss,
    RankedListLoss,
    UnifiedWeightLoss,
    ValidPairLoss,
    WeightedSoftmaxLoss,
)
from ports.losses.class_aware_attention import gaussian, probability_of_label

DEVICE = torch.device("cpu")  # test_every_case_on_cuda runs all of this on another

VALID_PAIRS = {
    "DistanceWeightedValidPairLoss": "V",
    "DistanceWeightedValidPairLossV2": "V2",
    "DistanceWeightedValidPairLossV3": "V3",
    "DistanceWeightedValidPairLossV4": "V4",
    "WeightedValidPairLoss": "weighted_valid_pair",
    "WeightedPairLoss": "weighted_pair",
}


def names(*layers: str) -> list[str]:
    return [name for name in CASES if name.split("/")[1] in layers]


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).to(DEVICE)


def assert_close(ours: torch.Tensor, recorded: np.ndarray, dtype: str) -> None:
    """Within rtol of the largest recorded entry."""
    ours = ours.detach().cpu().double().numpy()
    recorded = np.asarray(recorded, dtype=np.float64)
    assert ours.shape == recorded.shape
    largest = np.abs(recorded).max(initial=0.0)
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=RTOL[dtype] * largest + ATOL[dtype])


def run(loss, arrays: dict[str, np.ndarray], dtype: str, differentiable: int = 1, **extra):
    """(value, gradients of the first `differentiable` bottoms seeded with the recorded top diff)."""
    inputs = [tensor(arrays[f"bottom_{i}"]) for i in range(sum(k in arrays for k in map(bottom, range(9))))]
    leaves = [x.to(getattr(torch, dtype)).requires_grad_() for x in inputs[:differentiable]]
    value = loss(*leaves, *[x.reshape(-1) for x in inputs[differentiable:]], **extra)
    assert value.dtype == getattr(torch, dtype) and value.shape == ()
    value.backward(tensor(arrays["top_0_diff"]).to(value))
    return value, [leaf.grad for leaf in leaves]


def bottom(i: int) -> str:
    return f"bottom_{i}"


def check(value: torch.Tensor, gradients: list[torch.Tensor], arrays: dict[str, np.ndarray], dtype: str) -> None:
    assert_close(value, arrays["top_0"], dtype)
    for i, gradient in enumerate(gradients):
        assert_close(gradient, arrays[f"bottom_{i}_diff"], dtype)


def ranked_list(name: str, **changes) -> RankedListLoss:
    params = {**CASES[name]["params"], **changes}
    return RankedListLoss(release="tpami" if name.startswith("rll_tpami") else "cvpr19", **params)


both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


@both_dtypes
@pytest.mark.parametrize("name", names("DistanceWeightedValidPairLossV12"))
def test_ranked_list(name, dtype):
    arrays = arrays_of(name, dtype)
    check(*run(ranked_list(name), arrays, dtype), arrays, dtype)


def attentive(name: str) -> torch.nn.Module:
    layer, params = name.split("/")[1], CASES[name]["params"]
    if layer == "DistanceWeightedValidPairLossV5":
        return OnlineSoftMiningLoss(**params)
    if layer in VALID_PAIRS:
        return ValidPairLoss(VALID_PAIRS[layer], **params)
    return HardestPairLoss(**params)


def run_attentive(loss, arrays, dtype):
    scores = tensor(arrays["bottom_2"]).reshape(-1)
    return run(loss, {k: v for k, v in arrays.items() if k != "bottom_2"}, dtype, attention=scores)


@both_dtypes
@pytest.mark.parametrize(
    "name",
    names("DistanceWeightedValidPairLossV5", "WeightedContrastiveLoss", "OHPMWeightedPairLoss", *VALID_PAIRS),
)
def test_attentive_pairs(name, dtype):
    arrays = arrays_of(name, dtype)
    check(*run_attentive(attentive(name), arrays, dtype), arrays, dtype)


@both_dtypes
@pytest.mark.parametrize("name", names("ContrastiveLoss", "ContrastiveLossV2"))
def test_pair_lists(name, dtype):
    arrays = arrays_of(name, dtype)
    params = dict(CASES[name]["params"])
    if "ContrastiveLossV2" in name:
        release = "tpami" if name.startswith("rll_tpami") else "cvpr19"
        params["margin"] = params.pop("negative_threshold", params.get("margin"))
        loss = CaffeContrastiveLossV2(**params, release=release)
    else:
        loss = CaffeContrastiveLoss(**params)
    scores = tuple(tensor(arrays.pop(k)) for k in ("bottom_3", "bottom_4") if k in arrays)
    extra = {"scores": scores} if scores else {}
    check(*run(loss, arrays, dtype, 2, **extra), arrays, dtype)


@both_dtypes
@pytest.mark.parametrize("name", names("TripletLoss"))
def test_triplets(name, dtype):
    arrays = arrays_of(name, dtype)
    scores = tuple(tensor(arrays.pop(k)) for k in ("bottom_3", "bottom_4", "bottom_5") if k in arrays)
    check(*run(CaffeTripletLoss(**CASES[name]["params"]), arrays, dtype, 3, scores=scores), arrays, dtype)


@both_dtypes
@pytest.mark.parametrize("name", names("UnifiedWeightLoss"))
def test_unified_weight(name, dtype):
    arrays = arrays_of(name, dtype)
    arrays.pop("bottom_2")
    check(*run(UnifiedWeightLoss(**CASES[name]["params"]), arrays, dtype), arrays, dtype)


@both_dtypes
@pytest.mark.parametrize("name", names("WeightedSoftmaxWithLoss"))
def test_weighted_softmax(name, dtype):
    arrays = arrays_of(name, dtype)
    check(*run(WeightedSoftmaxLoss(**CASES[name]["params"]), arrays, dtype), arrays, dtype)


@both_dtypes
@pytest.mark.parametrize("name", names("CAAChain"))
def test_class_aware_attention(name, dtype):
    arrays = arrays_of(name, dtype)
    logits = tensor(arrays["logits"]).to(getattr(torch, dtype)).requires_grad_()
    result = ClassAwareAttention()(logits, tensor(arrays["label"]).reshape(-1))
    result.loss.backward()
    assert_close(result.loss, arrays["loss"], dtype)
    assert_close(logits.grad, arrays["logits_diff"], dtype)
    assert_close(result.attention, arrays["attention"].ravel(), dtype)
    assert_close(result.weights, arrays["l1_norm"].ravel(), dtype)


@both_dtypes
@pytest.mark.parametrize("name", names("ExtractProb"))
def test_probability_of_label(name, dtype):
    arrays = arrays_of(name, dtype)
    x = tensor(arrays["bottom_0"]).to(getattr(torch, dtype))
    ours = probability_of_label(x, tensor(arrays["bottom_1"]))
    assert_close(ours[:, None], arrays["top_0"], dtype)


@both_dtypes
@pytest.mark.parametrize("name", names("Gaussian"))
def test_gaussian(name, dtype):
    arrays = arrays_of(name, dtype)
    x = tensor(arrays["bottom_0"]).to(getattr(torch, dtype))
    assert_close(gaussian(x, **CASES[name]["params"]), arrays["top_0"], dtype)


@pytest.mark.gpu
@both_dtypes
def test_every_case_on_cuda(dtype, cuda, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what determinism asks of cuBLAS
    monkeypatch.setitem(globals(), "DEVICE", cuda)
    tests = {
        test_ranked_list: ("DistanceWeightedValidPairLossV12",),
        test_attentive_pairs: (
            "DistanceWeightedValidPairLossV5",
            "WeightedContrastiveLoss",
            "OHPMWeightedPairLoss",
            *VALID_PAIRS,
        ),
        test_pair_lists: ("ContrastiveLoss", "ContrastiveLossV2"),
        test_triplets: ("TripletLoss",),
        test_unified_weight: ("UnifiedWeightLoss",),
        test_weighted_softmax: ("WeightedSoftmaxWithLoss",),
        test_class_aware_attention: ("CAAChain",),
    }
    torch.use_deterministic_algorithms(True)
    try:
        for test, layers in tests.items():
            for name in names(*layers):
                if CASES[name]["stored"] or REFERENCE.is_dir():
                    test(name, dtype)
    finally:
        torch.use_deterministic_algorithms(False)


def test_every_recorded_case_is_listed(reference):
    recorded = json.loads((reference / "layers" / "manifest.json").read_text())["cases"]
    listed = {name.split("/")[1] for name in CASES}
    found = {f"{c['tree']}/{c['layer']}/{c['case']}" for c in recorded if c["layer"] in listed}
    assert found == set(CASES)
    assert not [c["layer"] for c in recorded if "Pair" in c["layer"] and c["layer"] not in listed]


def test_the_copy_equals_the_records(reference):
    for name, entry in CASES.items():
        if entry["stored"]:
            for dtype, file in entry["files"].items():
                copy = arrays_of(name, dtype)
                with np.load(reference / "layers" / file) as npz:
                    assert set(copy) == set(npz.files)
                    for key in copy:
                        np.testing.assert_array_equal(copy[key], npz[key])
