"""Caffe's weights files, .caffemodel (binary protobuf) and .caffemodel.h5, to arrays and back."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats.blobs import fill_blob, to_array
from caffe_compat.formats.hdf5 import is_hdf5, read_hdf5_weights, write_hdf5_weights
from caffe_compat.formats.run_checkpoint import read_blobs
from caffe_compat.formats.upgrade_v0 import V0_TYPES
from caffe_compat.formats.upgrades import V1_TYPES
from caffe_compat.formats.wire import parse_message, text_value
from caffe_compat.schema import message_class
from caffe_compat.schema.weights import weights_class
from ports.files import atomic_path

__all__ = ["LayerWeights", "read_caffemodel", "read_layers", "read_weights_message", "write_caffemodel"]


@dataclass
class LayerWeights:
    """One layer of a weights file.

    Attributes:
        name: layer name.
        type: V2 type string, "" where the file does not say it (HDF5 never does).
        blobs: its blobs in Caffe's order.
    """

    name: str
    type: str = ""
    blobs: list[NDArray[Any]] = field(default_factory=list)


def read_caffemodel(path: str | Path) -> dict[str, list[NDArray[Any]]]:
    """Read weights by layer name, in the order of the file; layers without blobs are left out.

    Reads V2, V1 and V0 layers, `shape` and legacy num/channels/height/width, packed or single values, and HDF5
    (told by content, not by name). float32, or float64 where the file holds double_data.

    Raises:
        CaffeFormatError: not such a file, truncated, or values that do not fit their shape.
        FileNotFoundError: no such file.
    """
    weights: dict[str, list[NDArray[Any]]] = {}
    for layer in read_layers(path):
        if not layer.blobs:
            continue
        if layer.name in weights:
            # Caffe copies both into the layer of that name, one after the other.
            warnings.warn(f'{path}: two layers are named "{layer.name}"; the last one counts', stacklevel=2)
        weights[layer.name] = layer.blobs
    return weights


def read_layers(path: str | Path) -> list[LayerWeights]:
    """Read all layers of a weights file, with their types; errors as `read_caffemodel`.

    A .safetensors is taken for the checkpoint of a Caffe recipe's run, whose layers have no types.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return [LayerWeights(name, "", blobs) for name, blobs in read_blobs(path).items()]
    if is_hdf5(path):
        return [LayerWeights(name, "", blobs) for name, blobs in read_hdf5_weights(path).items()]
    net = read_weights_message(path)
    layers = [_layer(layer.name, layer.type, layer.blobs, path) for layer in net.layer]
    for v1 in net.layers:
        if v1.HasField("layer"):
            v0 = v1.layer
            layers.append(_layer(v0.name, V1_TYPES.get(V0_TYPES.get(v0.type, ""), v0.type), v0.blobs, path))
        else:
            layers.append(_layer(v1.name, _v1_types().get(v1.type, ""), v1.blobs, path))
    return layers


def _layer(name: str, type: str, blobs: Iterable[Any], path: Path) -> LayerWeights:
    name = text_value(name, "a layer name", file=path)
    type = text_value(type, f'layer "{name}": type', file=path)
    arrays = [to_array(blob, f'layer "{name}", blob {i}', file=path) for i, blob in enumerate(blobs)]
    return LayerWeights(name, type, arrays)


def read_weights_message(path: str | Path) -> Any:
    """Read a .caffemodel as a NetParameter of `schema.weights`: all fields survive writing it back.

    Raises:
        CaffeFormatError: not a NetParameter, or one without any layer.
    """
    path = Path(path)
    net = parse_message(path.read_bytes(), weights_class("NetParameter"), file=path)
    if not net.layer and not net.layers:
        raise CaffeFormatError("no layers in it; not a caffemodel?", file=path)
    return net


@cache
def _v1_types() -> dict[int, str]:
    enum = message_class("bvlc", "V1LayerParameter").DESCRIPTOR.fields_by_name["type"].enum_type
    return {value.number: V1_TYPES[value.name] for value in enum.values}


def write_caffemodel(
    path: str | Path,
    weights: Mapping[str, Sequence[NDArray[Any]]] | Sequence[LayerWeights],
    *,
    net: Any = None,
    types: Mapping[str, str] | None = None,
) -> None:
    """Write weights as Caffe reads them; HDF5 when the path ends in .h5 or .hdf5.

    Args:
        path: file to write; it appears only when complete.
        weights: layer name -> blobs in Caffe's order, or layers in order, where several may have one name (each gets
            its own blobs then, as in Caffe's snapshot). float64 arrays become double_data, all others float32.
        net: NetParameter (V2 layers) of any dialect; the file then holds its name and all its layers with all their
            fields, as Caffe's own snapshots do. Without it: the weighted layers' names, types and blobs.
        types: layer name -> type string, used without `net`.

    Raises:
        KeyError: weights for a layer that the net does not have.
        CaffeFormatError: a layer name that an HDF5 file cannot hold.
    """
    path = Path(path)
    types = types or {}
    if isinstance(weights, Mapping):
        layers = [LayerWeights(name, types.get(name, ""), list(blobs)) for name, blobs in weights.items()]
    else:
        layers = list(weights)
    names = [layer.name for layer in (net.layer if net is not None else layers)]
    missing = Counter(layer.name for layer in layers) - Counter(names)
    if missing:
        raise KeyError(f"weights for layers that the net does not have: {', '.join(missing)}")
    if path.suffix in (".h5", ".hdf5"):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise CaffeFormatError(f"an HDF5 file cannot hold two layers of one name: {', '.join(twice)}", file=path)
        found = {layer.name: layer.blobs for layer in layers}
        write_hdf5_weights(path, {name: found.get(name, []) for name in names})
        return
    result = weights_class("NetParameter")()
    if net is not None:
        if net.HasField("name"):
            result.name = net.name
        for layer in net.layer:
            bare = type(layer)()
            bare.CopyFrom(layer)
            bare.ClearField("blobs")
            result.layer.add().MergeFromString(bare.SerializeToString())
    else:
        for layer in layers:
            result.layer.add(name=layer.name, type=layer.type)
    waiting = list(layers)
    for target in result.layer:
        # Of several layers of one name, the one of its type: a namesake without blobs gets none.
        fits = [w for w in waiting if w.name == target.name and w.type in ("", target.type)]
        if fits:
            waiting = [w for w in waiting if w is not fits[0]]
            for array in fits[0].blobs:
                fill_blob(target.blobs.add(), array)
    if waiting:
        layer = waiting[0]
        raise KeyError(
            f'weights for a layer "{layer.name}" of type {layer.type}, the net has another type of that name'
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(result.SerializeToString())
