"""Layers that the nets are made of, as dicts with the field names of Caffe's LayerParameter."""

from __future__ import annotations

from typing import Any

Layer = dict[str, Any]
Net = dict[str, Any]

XAVIER = {"type": "xavier"}


def conv(name: str, bottom: str, channels: int, kernel: int, *, stride: int = 1, pad: int = 0) -> Layer:
    return {
        "name": name,
        "type": "Convolution",
        "bottom": [bottom],
        "top": [name],
        "param": [{"lr_mult": 1, "decay_mult": 1}],
        "convolution_param": {
            "num_output": channels,
            "pad": [pad],
            "kernel_size": [kernel],
            "stride": [stride],
            "weight_filler": XAVIER,
            "bias_term": False,
        },
    }


def bn_scale_relu(name: str) -> list[Layer]:
    """BatchNorm, Scale with bias and an in-place ReLU on the blob `name`; the result is the blob `name/bn/sc`."""
    bn, scale = f"{name}/bn", f"{name}/bn/sc"
    return [
        {"name": bn, "type": "BatchNorm", "bottom": [name], "top": [bn]},
        {"name": scale, "type": "Scale", "bottom": [bn], "top": [scale], "scale_param": {"bias_term": True}},
        {"name": f"{scale}/relu", "type": "ReLU", "bottom": [scale], "top": [scale]},
    ]


def conv_block(
    name: str, bottom: str, channels: int, kernel: int, *, stride: int = 1, pad: int = 0
) -> tuple[list[Layer], str]:
    """The layers of one convolution block and the name of its output blob."""
    return [conv(name, bottom, channels, kernel, stride=stride, pad=pad), *bn_scale_relu(name)], f"{name}/bn/sc"


def inner_product(
    name: str, bottom: str, outputs: int, *, top: str | None = None, lr_mult: float | None = 1, decay_mult: float = 1
) -> Layer:
    """Fully connected layer without bias. `lr_mult=None` leaves the `param` block out, as some deploy files do."""
    layer: Layer = {
        "name": name,
        "type": "InnerProduct",
        "bottom": [bottom],
        "top": [top or name],
        "inner_product_param": {"num_output": outputs, "weight_filler": XAVIER, "bias_term": False},
    }
    if lr_mult is not None:
        layer["param"] = [{"lr_mult": lr_mult, "decay_mult": decay_mult}]
    return layer


def pool(name: str, bottom: str, kind: str, kernel: int, stride: int, pad: int | None = None) -> Layer:
    param: dict[str, Any] = {"pool": kind, "kernel_size": kernel, "stride": stride}
    if pad is not None:
        param["pad"] = pad
    return {"name": name, "type": "Pooling", "bottom": [bottom], "top": [name], "pooling_param": param}


def concat(name: str, bottoms: list[str], top: str | None = None) -> Layer:
    return {"name": name, "type": "Concat", "bottom": bottoms, "top": [top or name]}


def with_batch(given: Net, batch: int) -> Net:
    """The net with inputs of `batch` rows. All its inputs have a row for each image."""
    dims = list(given["input_dim"])
    dims[::4] = [batch] * len(given["input"])
    return {**given, "input_dim": dims}


def net(inputs: dict[str, tuple[int, int, int, int]], layers: list[Layer]) -> Net:
    """A net with input blobs of the given (N, C, H, W) shapes, in the old `input`/`input_dim` form the authors use."""
    return {
        "name": "GoogleNet",
        "input": list(inputs),
        "input_dim": [dim for shape in inputs.values() for dim in shape],
        "layer": layers,
    }
