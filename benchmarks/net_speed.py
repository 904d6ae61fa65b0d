"""CaffeNet's BN-Inception against the same network written by hand in torch: forward, and forward + backward.

Both have the same weights and are checked to compute the same before they are timed. Runs alternate, medians are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks._paired import paired
from caffe_compat.net import CaffeNet, load_net
from caffe_compat.net.seeded import seed_weights, seeded_images
from ports.backbones.bn_inception import BLOCKS, BNInception

TARGET = 1.05


def prototxt() -> str:
    """BN-Inception as Caffe writes it: Convolution without bias, BatchNorm, Scale, in-place ReLU."""
    lines = ['input: "data" input_shape { dim: 1 dim: 3 dim: 227 dim: 227 }']

    def pool(name: str, bottom: str, kind: str, stride: int) -> str:
        pad = "" if stride == 2 else "pad: 1 "
        lines.append(
            f'layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" '
            f"pooling_param {{ pool: {kind} kernel_size: 3 stride: {stride} {pad}}} }}"
        )
        return name

    def unit(name: str, bottom: str, width: int, kernel: int, stride: int = 1) -> str:
        conv = f"num_output: {width} kernel_size: {kernel} stride: {stride} pad: {kernel // 2} bias_term: false"
        top = f"{name}/bn/sc"
        lines.extend(
            [
                f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
                f"convolution_param {{ {conv} }} }}",
                f'layer {{ name: "{name}/bn" type: "BatchNorm" bottom: "{name}" top: "{name}/bn" }}',
                f'layer {{ name: "{top}" type: "Scale" bottom: "{name}/bn" top: "{top}" scale_param {{ bias_term: true }} }}',
                f'layer {{ name: "{top}/relu" type: "ReLU" bottom: "{top}" top: "{top}" }}',
            ]
        )
        return top

    x = pool("pool1", unit("conv1", "data", 64, 7, 2), "MAX", 2)
    x = pool("pool2", unit("conv2", unit("conv2_reduce", x, 64, 1), 192, 3), "MAX", 2)
    for b in BLOCKS:
        branches = [unit(f"{b.name}/1x1", x, b.one, 1)] if b.one else []
        branches.append(unit(f"{b.name}/3x3", unit(f"{b.name}/3x3_reduce", x, b.reduce, 1), b.three, 3, b.stride))
        double = unit(f"{b.name}/d3x3a", unit(f"{b.name}/d3x3_reduce", x, b.double_reduce, 1), b.double, 3)
        branches.append(unit(f"{b.name}/d3x3b", double, b.double, 3, b.stride))
        pooled = pool(f"{b.name}/pool", x, "MAX" if b.pool == "max" else "AVE", b.stride)
        branches.append(unit(f"{b.name}/pool_proj", pooled, b.projection, 1) if b.projection else pooled)
        bottoms = " ".join(f'bottom: "{name}"' for name in branches)
        lines.append(f'layer {{ name: "{b.name}" type: "Concat" {bottoms} top: "{b.name}" }}')
        x = b.name
    return "\n".join(lines)


def by_hand(net: CaffeNet) -> BNInception:
    """The hand-written network with the net's weights; both list their layers in the same order."""
    module = BNInception(conv_bias=False, pool="none")
    blobs = iter(net.learnable)
    with torch.no_grad():
        for conv, norm in _units(module):
            conv.weight.copy_(next(blobs).tensor)
            mean, variance, weight = next(blobs).tensor, next(blobs).tensor, next(blobs).tensor
            norm.running_mean.copy_(mean / weight)
            norm.running_var.copy_(variance / weight)
            norm.weight.copy_(next(blobs).tensor)
            norm.bias.copy_(next(blobs).tensor)
    return module


def _units(module: BNInception) -> Iterator[tuple[Any, Any]]:
    layers = list(module.children())
    return zip(layers[::2], layers[1::2])


def _step(forward: Callable[[], torch.Tensor]) -> None:
    forward().sum().backward()


def _time(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def run(
    quick: bool = False, *, batch: int | None = None, size: int | None = None, repeats: int | None = None
) -> list[dict[str, Any]]:
    """Rows for `python -m benchmarks`: seconds per run, batch 16 of 227 x 227 (2 of 64 x 64 when quick)."""
    batch, size, repeats = batch or (2 if quick else 16), size or (64 if quick else 227), repeats or (3 if quick else 9)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = seeded_images((batch, 3, size, size)).to(device)
    rows = []
    for phase in ("TEST", "TRAIN"):
        net = load_net(prototxt(), phase=phase, dialect="bvlc")
        seed_weights(net)
        module = by_hand(net).to(device).train(phase == "TRAIN")
        net.to(device)

        def ours(net: CaffeNet = net) -> torch.Tensor:
            return net(data=images)["inception_5b"]

        def peer(module: BNInception = module) -> torch.Tensor:
            return module(images)

        with torch.no_grad():
            a, b = ours(), peer()
        error = float((a - b).abs().max() / b.square().mean().sqrt())
        if error > 1e-4:
            raise AssertionError(f"the two networks differ by {error:.2g} of the RMS")
        if phase == "TEST":
            calls: tuple[Callable[[], object], ...] = (torch.no_grad()(ours), torch.no_grad()(peer))
        else:
            calls = (partial(_step, ours), partial(_step, peer))
        times: tuple[list[float], list[float]] = ([], [])
        for repeat in range(repeats + 1):
            for call, found in zip(calls, times):
                elapsed = _time(call, device)
                if repeat:  # the first is a warm-up
                    found.append(elapsed)
        what = "forward (TEST)" if phase == "TEST" else "forward + backward (TRAIN)"
        rows.append(
            {
                "name": f"CaffeNet BN-Inception, {what}",
                **paired(*times),
                "target": TARGET,
                "unit": "s",
                "note": f"batch {batch}, {size}x{size}, {device.type}, {torch.get_num_threads()} threads; peer: "
                f"hand-written torch module of the same arithmetic (outputs differ by {error:.1g} of the RMS)",
            }
        )
    return rows
