"""The paper losses as Caffe layers, built from the recorded prototxt text: every recorded case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import loss_records
from helpers.loss_records import ATOL, RTOL, arrays_of

from caffe_compat.formats import prototxt
from caffe_compat.layers import LAYERS

CASES = {name: case for name, case in loss_records.CASES.items() if "/CAAChain/" not in name}
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def build(name: str, arrays: dict[str, np.ndarray]):
    tree, layer_type, _ = name.split("/")
    count = sum(f"top_{i}" in arrays for i in range(3))
    text = CASES[name]["layer_param"] + "".join(f' top: "t{i}"' for i in range(count))
    shapes = [arrays[f"bottom_{i}"].shape for i in range(6) if f"bottom_{i}" in arrays]
    message = prototxt.parse(text, "LayerParameter", tree)
    return LAYERS[layer_type](message, shapes, dialect=tree, phase="TRAIN")


def assert_close(ours: torch.Tensor, recorded: np.ndarray, dtype: str) -> None:
    assert tuple(ours.shape) == recorded.shape
    largest = np.abs(recorded).max(initial=0.0)
    np.testing.assert_allclose(ours.detach().numpy(), recorded, rtol=0, atol=RTOL[dtype] * largest + ATOL[dtype])


@both_dtypes
@pytest.mark.parametrize("name", CASES)
def test_recorded(name, dtype):
    arrays = arrays_of(name, dtype)
    layer = build(name, arrays)
    bottoms = [torch.from_numpy(arrays[f"bottom_{i}"]) for i in range(len(layer.bottom_shapes))]
    bottoms = [b.to(getattr(torch, dtype)).requires_grad_(f"bottom_{i}_diff" in arrays) for i, b in enumerate(bottoms)]
    tops = layer(*bottoms)
    assert layer.top_shapes(layer.bottom_shapes) == [tuple(t.shape) for t in tops]
    if "top_0_after_forward_only" in arrays:
        assert_close(tops[0], arrays["top_0_after_forward_only"], dtype)
    else:
        for i, top in enumerate(tops):
            assert_close(top, arrays[f"top_{i}"], dtype)
    if "top_0_diff" in arrays:
        assert arrays["top_0_diff"] == pytest.approx(layer.loss_weights()[0])
        (layer.loss_weights()[0] * tops[0]).backward()
        for i, b in enumerate(bottoms):
            if b.requires_grad:
                assert_close(b.grad, arrays[f"bottom_{i}_diff"], dtype)
    if "top_0_after_forward_only" in arrays:
        assert_close(layer.reported, arrays["top_0"], dtype)


def test_tpami_reports_the_loss_of_the_last_backward():
    name = "rll_tpami/DistanceWeightedValidPairLossV12/sop12_randn_4x3_d8"
    arrays = arrays_of(name, "float64")
    layer = build(name, arrays)
    x, labels = torch.from_numpy(arrays["bottom_0"]).double().requires_grad_(), torch.from_numpy(arrays["bottom_1"])
    assert layer(x, labels)[0] == 0
    assert layer(x, labels)[0] == 0, "forward alone changes nothing"
    layer(x, labels)[0].backward()
    np.testing.assert_allclose(layer(2 * x, labels)[0].detach(), arrays["top_0"], rtol=1e-12)


def test_tpami_hyper_parameters_can_be_annealed():
    name = "rll_tpami/DistanceWeightedValidPairLossV12/sop12_randn_4x3_d8"
    arrays = arrays_of(name, "float64")
    layer = build(name, arrays)
    layer.loss.negative_threshold, layer.loss.pn_margin, layer.loss.T_p, layer.loss.T_n = 1.0, 0.2, 1.0, 5.0
    x, labels = torch.from_numpy(arrays["bottom_0"]).double().requires_grad_(), torch.from_numpy(arrays["bottom_1"])
    layer(x, labels)[0].backward()
    assert np.abs(x.grad.numpy() - arrays["bottom_0_diff"]).max() > 1e-3


def test_caffe_shapes():
    """Blobs of four axes, as nets hold them, give the same as rows and vectors."""
    name = "osm_aaai19/DistanceWeightedValidPairLossV5/s08_cluster_4x3_d8"
    arrays = arrays_of(name, "float64")
    layer = build(name, arrays)
    x, *rest = (torch.from_numpy(arrays[f"bottom_{i}"]).double() for i in range(3))
    flat, blob = x.clone().requires_grad_(), x[..., None, None].clone().requires_grad_()
    layer(flat, *rest)[0].backward()
    layer(blob, *(r.view(-1, 1, 1, 1) for r in rest))[0].backward()
    assert blob.grad.shape == (12, 8, 1, 1) and torch.equal(blob.grad[..., 0, 0], flat.grad)
