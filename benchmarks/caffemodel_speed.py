"""Reading a BN-Inception .caffemodel and converting it to a PyTorch state dict, against a protobuf walk in plain Python.

The peer walks the wire format field by field and unpacks floats with `struct` into lists, which is what a converter does
that has no compiled protobuf; then both make the same state dict, and the results are compared bit for bit.
"""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._paired import paired
from caffe_compat.bn_inception import from_caffe, save_bn_inception
from caffe_compat.formats.caffemodel import read_caffemodel
from ports.backbones.bn_inception import BNInception

LAYER, NAME, BLOBS = 100, 1, 7  # NetParameter.layer, LayerParameter.name and .blobs
DATA, SHAPE, DIM = 5, 7, 1  # BlobProto.data and .shape, BlobShape.dim
LEGACY = (1, 2, 3, 4)  # BlobProto.num, .channels, .height, .width


def fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, Any]]:
    """(field number, varint or (start, end) or 4/8 raw bytes) of one message."""
    while position < end:
        key, position = varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = varint(data, position)
            yield key >> 3, value
        elif kind == 2:
            length, position = varint(data, position)
            yield key >> 3, (position, position + length)
            position += length
        else:
            size = 4 if kind == 5 else 8
            yield key >> 3, data[position : position + size]
            position += size


def varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def walk_blob(data: bytes, start: int, end: int) -> np.ndarray:
    values: list[float] = []
    shape: list[int] = []
    for number, value in fields(data, start, end):
        if number == DATA:
            if isinstance(value, bytes):
                values += struct.unpack("<f", value)
            else:
                values += struct.unpack(f"<{(value[1] - value[0]) // 4}f", data[value[0] : value[1]])
        elif number == SHAPE:
            for inner, dims in fields(data, *value):
                position = dims[0] if inner == DIM and isinstance(dims, tuple) else None
                while position is not None and position < dims[1]:
                    dim, position = varint(data, position)
                    shape.append(dim)
        elif number in LEGACY:
            shape.append(value)
    return np.array(values, np.float32).reshape(shape)


def walk(path: Path) -> dict[str, list[np.ndarray]]:
    data = path.read_bytes()
    layers: dict[str, list[np.ndarray]] = {}
    for number, value in fields(data, 0, len(data)):
        if number != LAYER:
            continue
        name, blobs = "", []
        for inner, part in fields(data, *value):
            if inner == NAME:
                name = data[part[0] : part[1]].decode()
            elif inner == BLOBS:
                blobs.append(walk_blob(data, *part))
        layers[name] = blobs
    return layers


def timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def run(quick: bool = False) -> list[dict[str, Any]]:
    """One row: seconds for reading and converting, ours and the walk's; medians of alternating runs."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "googlenet_bn.caffemodel"
        save_bn_inception(BNInception(), path)
        ours, peer = from_caffe(read_caffemodel(path))[0], from_caffe(walk(path))[0]
        if not all(torch.equal(ours[key], peer[key]) for key in peer):
            raise AssertionError("the two readers disagree")
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(1 if quick else 7):
            times["ours"].append(timed(lambda: from_caffe(read_caffemodel(path))))
            times["peer"].append(timed(lambda: from_caffe(walk(path))))
        megabytes = path.stat().st_size / 1e6
    return [
        {
            "name": "caffemodel to state dict",
            **paired(times["ours"], times["peer"]),
            "unit": "s",
            "note": f"BN-Inception, {megabytes:.0f} MB; peer: protobuf walk in plain Python, struct.unpack per blob",
        }
    ]
