"""Float32 layers in both memory layouts, on blobs that white margins make: how far from the same layer in float64.

Layout, kernel and order of summation are chosen for speed (channels-last convolutions, BatchNorm and Scale in one step,
ReLU in place, oneDNN's and ATen's reductions). Each is held to a figure here: largest error, relative to the largest entry,
of the output, the bottom's gradient and each parameter's gradient. 2^-24 = 6e-8 is one rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.batch_norm import torchs_own

from caffe_compat import load_net
from caffe_compat.layers.batch_norm import BatchNorm

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CONV = (
    "convolution_param {{ num_output: {0} kernel_size: {1} stride: {2} pad: {3} weight_filler {{ type: 'xavier' }} }}"
)
BN = "layer { name: 'bn' type: 'BatchNorm' bottom: 'data' top: 'bn' }"
SCALE = "layer { name: 'sc' type: 'Scale' bottom: 'bn' top: 'sc' scale_param { bias_term: true } }"
RELU = "layer { name: 'relu' type: 'ReLU' bottom: 'sc' top: 'sc' }"


def one(kind: str, rest: str = "") -> str:
    return f"layer {{ name: 'l' type: '{kind}' bottom: 'data' top: 'top' {rest} }}"


#: what -> (layers, shape of the bottom, bound). The bounds are three times the largest figure in docs/speed.md.
PLACES: dict[str, tuple[str, tuple[int, ...], float]] = {
    "convolution 7x7": (one("Convolution", CONV.format(64, 7, 2, 3)), (4, 3, 227, 227), 4e-5),
    "convolution 3x3": (one("Convolution", CONV.format(96, 3, 1, 1)), (6, 64, 28, 28), 1.2e-5),
    "convolution 1x1": (one("Convolution", CONV.format(64, 1, 1, 0)), (6, 192, 28, 28), 8.5e-6),
    "BatchNorm": (BN, (6, 16, 57, 57), 1e-6),
    "BatchNorm, Scale, ReLU as one step": (BN + SCALE + RELU, (6, 16, 57, 57), 1e-6),
    "pooling, average 3x3": (
        one("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 }"), (6, 64, 28, 28), 1e-6
    ),
    "pooling, average of all": (one("Pooling", "pooling_param { pool: AVE global_pooling: true }"), (6, 64, 28, 28), 1e-6),
    "pooling, maximum 3x3": (one("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"), (6, 64, 57, 57), 1e-6),
    "inner product": (
        one("InnerProduct", "inner_product_param { num_output: 512 weight_filler { type: 'xavier' } }"),
        (18, 1024, 7, 7),
        3e-6,
    ),
}  # fmt: skip


def white_margins(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """White (151 above the mean) but for a square in the middle, a fifth of each picture; one level per channel."""
    rng = np.random.default_rng(seed)
    level = 151 * rng.uniform(0.5, 1.0, (1, shape[1], 1, 1))
    values = np.broadcast_to(level, shape).copy()
    height, width = (round(side * 0.45) for side in shape[2:])
    top, left = (shape[2] - height) // 2, (shape[3] - width) // 2
    values[:, :, top : top + height, left : left + width] -= 100 * rng.random((*shape[:2], height, width))
    return torch.from_numpy(values.astype(np.float32))


def results(text: str, x: torch.Tensor, layout: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    net = load_net(f"input: 'data' input_dim: {' input_dim: '.join(map(str, x.shape))} {text}", phase="TRAIN", dialect="bvlc",
                   generator=torch.Generator().manual_seed(0))  # fmt: skip
    net.to(dtype=dtype, memory_format=LAYOUTS[layout])
    bottom = x.to(dtype=dtype, memory_format=LAYOUTS[layout]).requires_grad_()
    (top,) = net(data=bottom).values()
    generator = np.random.default_rng(1)
    above = torch.from_numpy((0.3 + 0.1 * generator.standard_normal(tuple(top.shape))).astype(np.float32))
    top.backward(above.to(dtype=dtype, memory_format=LAYOUTS[layout] if top.ndim == 4 else torch.contiguous_format))
    gradients = {f"gradient {i}": p.grad for i, p in enumerate(net.parameters()) if p.grad is not None}
    return {"top": top.detach(), "bottom's gradient": bottom.grad, **gradients}


def errors(text: str, shape: tuple[int, ...], layout: str) -> dict[str, float]:
    x = white_margins(shape)
    exact = results(text, x, "contiguous", torch.float64)
    found = results(text, x, layout, torch.float32)
    return {
        name: float((found[name].double() - value).abs().max() / value.abs().max()) for name, value in exact.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", PLACES)
def test_float32_is_as_near_as_its_figure(place, layout):
    text, shape, bound = PLACES[place]
    found = errors(text, shape, layout)
    assert max(found.values()) < bound, found


def test_the_check_notices_torchs_batch_norm(monkeypatch):
    monkeypatch.setattr(BatchNorm, "batch_norm", staticmethod(torchs_own))
    text, shape, bound = PLACES["BatchNorm, Scale, ReLU as one step"]
    assert max(errors(text, shape, "channels_last").values()) > 30 * bound
