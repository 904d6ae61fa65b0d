"""What is in a file: tables for `python -m caffe_compat info`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from caffe_compat.files import read_npy
from caffe_compat.formats.binaryproto import read_binaryproto
from caffe_compat.formats.caffemodel import LayerWeights, read_layers
from caffe_compat.formats.prototxt import write
from caffe_compat.formats.solverstate import read_solverstate
from caffe_compat.formats.text import layers_placed
from caffe_compat.matlab.lists import load_splits
from caffe_compat.schema import dialect_of
from caffe_compat.tools.convert import kind_of, read_any, read_weights_npz
from ports.console import Table


def describe(
    path: Path, *, dialect: str | None = None, rename: Mapping[str, str | None] | None = None, phase: str = "TEST"
) -> Iterator[Any]:
    """Printable parts (text and tables) that describe a file; its kind is told by the suffix."""
    kind = kind_of(path)
    if kind == "caffemodel":
        yield from _weights(read_layers(path))
    elif kind == "npz":
        yield from _weights([LayerWeights(name, "", blobs) for name, blobs in read_weights_npz(path).items()])
    elif kind == "npy":
        array = read_npy(path)
        yield f"array {_shape(array.shape)} {array.dtype}"
    elif kind in ("pth", "pt", "safetensors"):
        yield from _bn_inception(path)
    elif kind == "solverstate":
        state = read_solverstate(path)
        shapes = ", ".join(_shape(h.shape) for h in state.history)
        yield f"iteration {state.iter}, step {state.current_step}, weights {state.learned_net or '(none named)'}"
        yield f"{len(state.history)} history blobs: {shapes}"
    elif kind == "binaryproto":
        array = read_binaryproto(path)
        yield f"blob {_shape(array.shape)} {array.dtype}, {array.min():g} to {array.max():g}"
        if array.ndim == 4:
            yield "mean per channel: " + ", ".join(f"{m:.4f}" for m in array.mean(axis=(0, 2, 3)))
    elif kind == "mat":
        for part, split in load_splits(path).items():
            yield f"{part}: {split!r}"
            if len(split):
                yield f"  first: {split.paths[0]}"
    else:
        message = read_any(path, dialect=dialect, rename=rename)
        if message.DESCRIPTOR.name == "SolverParameter":
            yield f"solver, dialect {dialect_of(message)}"
            yield write(message)
        else:
            with layers_placed(path):
                yield from _net(message, phase)


def _net(message: Any, phase: str) -> Iterator[Any]:
    from caffe_compat.net import load_net  # torch

    net = load_net(message, phase=phase)
    inputs = ", ".join(f"{name} {_shape(shape)}" for name, shape in net.inputs.items())
    yield f'net "{message.name}", dialect {net.dialect}, phase {phase}, inputs: {inputs}'
    header = ("layer", "type", "bottoms", "tops", "top shapes", "parameters", "MACs")
    table = Table(header, names=range(7), right=(5, 6))
    parameters, macs = layer_costs(net)
    for layer, count, cost in zip(net, parameters, macs):
        shapes = ", ".join(_shape(s) for s in layer.top_shapes(layer.bottom_shapes))
        names = ", ".join(layer.message.bottom), ", ".join(layer.message.top)
        costs = (f"{n:,}" if n else "" for n in (count, cost))
        table.rows.append([layer.layer_name, layer.layer_type, *names, shapes, *costs])
    yield table
    shared = sum(math.prod(b.tensor.shape) for b in net.learnable)
    samples = next(iter(net.inputs.values()), (1,))[0] or 1
    yield (
        f"{len(net.plan.layers)} layers, {shared:,} values in blobs, {sum(macs) / samples:,.0f} multiply-adds per sample "
        f"(Convolution, Deconvolution and InnerProduct; batch {samples})"
    )
    yield f"outputs: {', '.join(net.plan.outputs)}"


def layer_costs(net: Any) -> tuple[list[int], list[int]]:
    """Per layer of a CaffeNet: values in its blobs, and multiply-adds at the declared batch size."""
    parameters, macs = [], []
    for layer in net:
        shapes = [tuple(blob.shape) for blob in layer.blobs]
        parameters.append(sum(map(math.prod, shapes)))
        tops = layer.top_shapes(layer.bottom_shapes)
        cost = 0
        if layer.layer_type == "Convolution":
            cost = sum(map(math.prod, tops)) * math.prod(shapes[0][1:])
        elif layer.layer_type == "Deconvolution":
            cost = sum(map(math.prod, layer.bottom_shapes)) * math.prod(shapes[0][1:])
        elif layer.layer_type == "InnerProduct":
            outputs = layer.message.inner_product_param.num_output
            cost = math.prod(tops[0]) * math.prod(shapes[0]) // max(outputs, 1)
        macs.append(cost)
    return parameters, macs


def _bn_inception(path: Path) -> Iterator[Any]:
    from caffe_compat.bn_inception import read_weights  # torch

    state, preprocessing, report = read_weights(path)
    yield str(report)
    yield from _weights([LayerWeights(name, "", [value.numpy()]) for name, value in state.items()])
    yield f"preprocessing: {preprocessing.to_json()}"


def _weights(layers: list[LayerWeights]) -> Iterator[Any]:
    header = ("layer", "type", "blobs", "dtype", "values", "smallest", "largest")
    table = Table(header, names=range(7), right=(4, 5, 6))
    total = 0
    for layer in layers:
        if not layer.blobs:
            continue
        count = sum(blob.size for blob in layer.blobs)
        total += count
        ends = (
            [f"{end(getattr(b, end.__name__)() for b in layer.blobs if b.size):.4g}" for end in (min, max)]
            if count
            else ["", ""]
        )
        shapes = ", ".join(_shape(blob.shape) for blob in layer.blobs)
        table.rows.append([layer.name, layer.type, shapes, str(layer.blobs[0].dtype), f"{count:,}", *ends])
    yield table
    yield f"{len(layers)} layers, {sum(bool(layer.blobs) for layer in layers)} with blobs, {total:,} values"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if shape else "scalar"
