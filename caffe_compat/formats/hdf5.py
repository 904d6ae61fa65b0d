"""Caffe's HDF5 snapshots: weights (`/data/LAYER/INDEX`) and solver states; needs h5py (extra `hdf5`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from ports.files import atomic_path

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_DEPTH = 8


def is_hdf5(path: str | Path) -> bool:
    """Whether a file begins as an HDF5 file (Caffe's have no user block in front)."""
    with open(path, "rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def import_h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ImportError("HDF5 files need h5py: pip install 'dml-ports[hdf5]'") from None
    return h5py


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[Any]:
    """Open for reading; whatever h5py raises on damaged contents becomes CaffeFormatError."""
    h5py = import_h5py()
    Path(path).stat()  # FileNotFoundError for a missing file, before h5py words it as a format matter
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (CaffeFormatError, ImportError):
        raise
    except Exception as error:  # h5py reports damage as OSError, RuntimeError, KeyError, TypeError, ValueError, ...
        raise CaffeFormatError(f"damaged HDF5 file: {error}", file=path) from None


def read_dataset(dataset: Any, where: str, file: str | Path, *, kinds: str = "f") -> NDArray[Any]:
    """Read one dataset after checking its class, type and that its claimed size can be in the file.

    Args:
        dataset: what the link led to.
        where: its name in errors.
        file: the file's path.
        kinds: numpy dtype kinds to accept ("f": floats only).

    Raises:
        CaffeFormatError: not a dataset, wrong type, or claims more than the file can hold.
    """
    h5py = import_h5py()
    if not isinstance(dataset, h5py.Dataset):
        raise CaffeFormatError(f"{where}: expected a dataset, found {type(dataset).__name__}", file=file)
    if dataset.dtype.kind not in kinds or dataset.shape is None or dataset.dtype.itemsize > 1 << 16:
        raise CaffeFormatError(f"{where}: unexpected type {dataset.dtype}", file=file)
    # Deflate shrinks at most 1032-fold; contiguous data (all that Caffe writes) not at all.
    limit = Path(file).stat().st_size * (1032 if dataset.chunks else 1)
    if dataset.size * dataset.dtype.itemsize > limit:
        raise CaffeFormatError(f"{where}: shape {dataset.shape} is more than the file can hold", file=file)
    return np.asarray(dataset[()])


def _blob(dataset: Any, where: str, file: str | Path) -> NDArray[Any]:
    array = read_dataset(dataset, where, file)
    return array.astype("f8" if array.dtype.itemsize == 8 else "f4", copy=False)


def _numbered(group: Any, where: str, file: str | Path) -> list[NDArray[Any]]:
    """Datasets "0", "1", ... of a group as a list."""
    indices = sorted(int(key) for key in group if key.isdecimal() and len(key) < 7)
    if indices != list(range(len(indices))):
        missing = next(i for i, index in enumerate(indices) if i != index)
        raise CaffeFormatError(
            f"{where}: blob {missing} is not there (HDF5 leaves out a blob that another layer owns; use the binary file)",
            file=file,
        )
    return [_blob(group[str(i)], f"{where}, blob {i}", file) for i in indices]


def read_hdf5_weights(path: str | Path) -> dict[str, list[NDArray[Any]]]:
    """Weights of a .caffemodel.h5: layer name -> blobs, layers in the file's (alphabetical) order.

    Blobs that a layer shares with another are in the file once, under the layer that owns them.

    Raises:
        CaffeFormatError: damaged, or not Caffe's layout.
    """
    h5py = import_h5py()
    weights: dict[str, list[NDArray[Any]]] = {}

    def visit(group: Any, name: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise CaffeFormatError(f'group "{name}": nested too deeply', file=path)
        if name:
            weights[name] = _numbered(group, f'layer "{name}"', path)
        for key in group:
            if group.get(key, getclass=True) is h5py.Group:
                # A "/" in a layer name makes nested groups.
                visit(group[key], f"{name}/{key}" if name else key, depth + 1)

    with open_hdf5(path) as file:
        data = file.get("data")
        if not isinstance(data, h5py.Group):
            raise CaffeFormatError('no group "data"; not a .caffemodel.h5?', file=path)
        visit(data, "", 0)
    return weights


def write_hdf5_weights(path: str | Path, weights: Mapping[str, list[NDArray[Any]]]) -> None:
    """Write a .caffemodel.h5; float64 stays, all else becomes float32.

    Raises:
        CaffeFormatError: a layer name with "/", which Caffe itself can neither write nor read in HDF5.
    """
    for name in weights:
        if "/" in name or name in ("", "."):
            raise CaffeFormatError(f'layer "{name}": Caffe\'s HDF5 files cannot hold this name; write .caffemodel')
    with _create(path) as file:
        data = file.create_group("data")
        for name, blobs in weights.items():
            _write_numbered(data.create_group(name), blobs)


def read_hdf5_state(path: str | Path) -> tuple[int, str, list[NDArray[Any]], int]:
    """(iter, learned_net, history, current_step) of a .solverstate.h5; a missing current_step is 0."""
    h5py = import_h5py()
    with open_hdf5(path) as file:
        history = file.get("history")
        if "iter" not in file or not isinstance(history, h5py.Group):
            raise CaffeFormatError('no "iter" and group "history"; not a .solverstate.h5?', file=path)
        return (
            _integer(file["iter"], "iter", path),
            _string(file["learned_net"], path) if "learned_net" in file else "",
            _numbered(history, "history", path),
            _integer(file["current_step"], "current_step", path) if "current_step" in file else 0,
        )


def write_hdf5_state(path: str | Path, iter: int, learned_net: str, history: list[NDArray[Any]], step: int) -> None:
    with _create(path) as file:
        file.create_dataset("iter", data=np.array([iter], dtype="<i4"))
        # Fixed length with a closing zero, as H5LTmake_dataset_string writes it: Caffe reads it as a C string.
        name = learned_net.encode()
        file.create_dataset("learned_net", data=np.array(name, dtype=f"S{len(name) + 1}"))
        file.create_dataset("current_step", data=np.array([step], dtype="<i4"))
        _write_numbered(file.create_group("history"), history)


def _integer(dataset: Any, where: str, file: str | Path) -> int:
    array = read_dataset(dataset, where, file, kinds="iu")
    if array.size != 1:
        raise CaffeFormatError(f"{where}: expected one number, shape {array.shape}", file=file)
    return int(array.reshape(-1)[0])


def _string(dataset: Any, file: str | Path) -> str:
    value = read_dataset(dataset, "learned_net", file, kinds="SO")
    text = value.reshape(-1)[0] if value.size else b""
    return text.rstrip(b"\0").decode() if isinstance(text, bytes) else str(text)


@contextmanager
def _create(path: str | Path) -> Iterator[Any]:
    h5py = import_h5py()
    # "earliest": files that the HDF5 1.8 of Caffe's days opens
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver="earliest") as file:
        yield file


def _write_numbered(group: Any, blobs: list[NDArray[Any]]) -> None:
    for i, blob in enumerate(blobs):
        array = np.asarray(blob)
        group.create_dataset(str(i), data=array.astype("<f8" if array.dtype == np.float64 else "<f4"))
