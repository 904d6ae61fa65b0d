"""File to file: what `python -m caffe_compat convert` and `upgrade` do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.files import read_npy, read_npz
from caffe_compat.formats.binaryproto import read_binaryproto, write_binaryproto
from caffe_compat.formats.caffemodel import read_caffemodel, read_layers, write_caffemodel
from caffe_compat.formats.prototxt import read_net, read_solver, upgrade_net, upgrade_solver, write
from caffe_compat.formats.run_checkpoint import has_blobs, is_checkpoint, read_blobs, read_plain
from caffe_compat.formats.solverstate import read_solverstate, write_solverstate
from caffe_compat.formats.text import layers_placed
from caffe_compat.formats.wire import parse_message
from caffe_compat.matlab.lists import load_split, save_split
from caffe_compat.schema import message_class
from ports.files import atomic_path

_TORCH = {"pth", "safetensors", "pt"}


def kind_of(path: Path) -> str:
    """Format by suffix: "caffemodel", "solverstate", "prototxt", "binaryproto", "mat", "npz", "npy", "pth", ..."""
    suffixes = [s[1:].lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in ("h5", "hdf5"):
        return "solverstate" if "solverstate" in suffixes else "caffemodel"
    return suffixes[-1] if suffixes else ""


def convert(
    source: Path,
    target: Path,
    *,
    mat_version: str = "7",
    image_root: Path | None = None,
    generation: str = "new",
) -> str:
    """Convert by the suffixes of both files and return a line that says what was done.

    Raises:
        CaffeFormatError: the source is damaged or cannot be held by the target's format.
        ValueError: no conversion between these two formats.
    """
    pair = (kind_of(source), kind_of(target))
    if pair[0] == "safetensors" and is_checkpoint(source):
        done = _convert_checkpoint(source, target, pair[1])
        if done is not None:
            return done
    if pair == ("caffemodel", "caffemodel"):
        layers = read_layers(source)
        weights = {layer.name: layer.blobs for layer in layers if layer.blobs}
        write_caffemodel(target, weights, types={layer.name: layer.type for layer in layers})
        return f"{target}: {len(weights)} layers with blobs"
    if pair == ("caffemodel", "npz"):
        weights = read_caffemodel(source)
        arrays = {f"{name}:{i}": blob for name, blobs in weights.items() for i, blob in enumerate(blobs)}
        with atomic_path(target) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return f"{target}: {len(arrays)} arrays named LAYER:BLOB"
    if pair == ("npz", "caffemodel"):
        weights = read_weights_npz(source)
        write_caffemodel(target, weights)
        return f"{target}: {len(weights)} layers with blobs"
    if pair == ("solverstate", "solverstate"):
        state = read_solverstate(source)
        write_solverstate(target, state)
        return f"{target}: iteration {state.iter}, {len(state.history)} history blobs"
    if pair == ("binaryproto", "npy"):
        array = read_binaryproto(source)
        with atomic_path(target) as temporary, open(temporary, "wb") as file:
            np.save(file, array)
        return f"{target}: {array.shape}"
    if pair == ("npy", "binaryproto"):
        array = read_npy(source)
        write_binaryproto(target, array)
        return f"{target}: {array.shape}"
    if pair == ("mat", "mat"):
        split = load_split(source, image_root=image_root)
        save_split(split, target, version=mat_version)
        return f"{target}: version {mat_version}, {len(split)} rows"
    if _TORCH.intersection(pair) and set(pair) <= {*_TORCH, "caffemodel"}:
        from caffe_compat.bn_inception import convert as convert_bn_inception  # torch

        return f"{target}: {convert_bn_inception(source, target, generation=generation)}"
    raise ValueError(f"no conversion from .{pair[0]} ({source}) to .{pair[1]} ({target})")


def _convert_checkpoint(source: Path, target: Path, kind: str) -> str | None:
    """A run's checkpoint as a .caffemodel for the authors' nets, or by plain names; None: BN-Inception's table does it."""
    if kind == "caffemodel" and has_blobs(source):
        weights = read_blobs(source)
        write_caffemodel(target, weights)
        return f"{target}: {len(weights)} layers with blobs, momentum left out"
    if kind == "safetensors":
        from safetensors.numpy import save_file

        plain = read_plain(source)
        with atomic_path(target) as temporary:
            save_file(plain, temporary, {"format": "pt"})
        return f"{target}: {len(plain)} tensors, {next(iter(plain))!r} first; momentum left out"
    return None


def read_weights_npz(path: Path) -> dict[str, list[NDArray[Any]]]:
    """Layer name -> blobs from an .npz whose arrays are named LAYER:0, LAYER:1, ..."""
    weights: dict[str, list[NDArray[Any]]] = {}
    arrays = read_npz(path)
    for key in arrays:
        if not re.fullmatch(r".+:\d+", key):
            raise CaffeFormatError(f'array "{key}": expected LAYER:0, LAYER:1, ...', file=path)
        weights.setdefault(key.rpartition(":")[0], [])
    for name, blobs in weights.items():
        count = sum(key.rpartition(":")[0] == name for key in arrays)
        missing = [i for i in range(count) if f"{name}:{i}" not in arrays]
        if missing:
            raise CaffeFormatError(f'layer "{name}" has {count} arrays, but no "{name}:{missing[0]}"', file=path)
        blobs.extend(arrays[f"{name}:{i}"] for i in range(count))
    return weights


def upgrade(
    source: Path, target: Path, *, dialect: str | None = None, rename: Mapping[str, str | None] | None = None
) -> str:
    """Upgrade a net or solver prototxt, or a .caffemodel, and return a line that says what was done.

    A .caffemodel is read with the full schema of `dialect` (stock Caffe's by default), so that all its fields move.
    """
    if kind_of(source) == "caffemodel":
        net = parse_message(source.read_bytes(), message_class(dialect or "bvlc", "NetParameter"), file=source)
        count = len(net.layers)
        with atomic_path(target) as temporary:
            temporary.write_bytes(upgrade_net(net).SerializeToString())
        return f"{target}: {count} V0/V1 layers upgraded"
    message = read_any(source, dialect=dialect, rename=rename)
    with layers_placed(source):
        if message.DESCRIPTOR.name == "SolverParameter":
            done, what = upgrade_solver(message), "solver"
        else:
            done, what = upgrade_net(message), f"{len(message.layers)} V0/V1 layers upgraded"
    with atomic_path(target) as temporary:
        temporary.write_text(write(done), encoding="utf-8")
    return f"{target}: {what}"


def read_any(path: Path, *, dialect: str | None = None, rename: Mapping[str, str | None] | None = None) -> Any:
    """Read a prototxt that is a net or a solver; errors are those of the reading that got further."""
    try:
        return read_net(path, dialect=dialect, rename=rename)
    except CaffeFormatError as error:
        as_net = error
    try:
        return read_solver(path, dialect=dialect, rename=rename)
    except CaffeFormatError as as_solver:
        further = (as_solver.line or 0, as_solver.column or 0) > (as_net.line or 0, as_net.column or 0)
        raise (as_solver if further else as_net) from None
