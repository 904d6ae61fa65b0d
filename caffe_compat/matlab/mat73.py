"""MATLAB 7.3 files: HDF5 with the class of each value in an attribute and cells as object references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats.hdf5 import import_h5py, open_hdf5, read_dataset
from ports.files import atomic_path

_MAX_DEPTH = 32
_USER_BLOCK = 512
_NUMBERS = {"double", "single", "logical", *(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64))}


class _Reader:
    def __init__(self, file: Any, path: Path) -> None:
        self.h5py = import_h5py()
        self.file = file
        self.path = path
        # Bytes that may still be read: every value is in the file once, so reading far more than the file holds means
        # references that all lead to one big value or cells that hold themselves. Twice, for values shared on purpose.
        self.budget = 2 * path.stat().st_size + (1 << 16)

    def spend(self, size: int, where: str) -> None:
        self.budget -= size
        if self.budget < 0:
            raise CaffeFormatError(f"{where}: the references read more than the whole file holds", file=self.path)

    def value(self, node: Any, where: str, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            raise CaffeFormatError(f"{where}: cells are nested more than {_MAX_DEPTH} deep", file=self.path)
        if isinstance(node, self.h5py.Group):
            self.spend(len(node), where)
            return {key: self.value(node[key], f"{where}.{key}", depth + 1) for key in node}
        self.spend(node.id.get_storage_size(), where)
        kind = node.attrs.get("MATLAB_class", b"")
        kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
        if "MATLAB_empty" in node.attrs:
            return self.empty(node, where, kind)
        if kind == "cell":
            return self.cell(node, where, depth)
        if kind == "char":
            return self.text(node, where)
        if kind in _NUMBERS:
            return read_dataset(node, where, self.path, kinds="fiub").T
        raise CaffeFormatError(f'{where}: MATLAB class "{kind}" is not supported', file=self.path)

    def empty(self, node: Any, where: str, kind: str) -> Any:
        if kind == "char":
            return ""
        shape = tuple(int(n) for n in read_dataset(node, where, self.path, kinds="iu").reshape(-1)[:_MAX_DEPTH])
        if 0 not in shape:
            raise CaffeFormatError(f"{where}: an empty value of shape {shape}", file=self.path)
        # The other axes of an empty array say nothing and may be anything in a damaged file.
        return np.empty((0, 0), dtype=object if kind in ("cell", "struct") else np.float64)

    def text(self, node: Any, where: str) -> Any:
        codes = read_dataset(node, where, self.path, kinds="u").T
        if codes.ndim != 2:
            raise CaffeFormatError(f"{where}: a char array of {codes.ndim} axes", file=self.path)
        rows = [row.astype("<u2").tobytes().decode("utf-16-le", "replace").rstrip("\0") for row in codes]
        return rows[0] if len(rows) == 1 else [row.rstrip() for row in rows]

    def cell(self, node: Any, where: str, depth: int) -> NDArray[Any]:
        if not isinstance(node, self.h5py.Dataset) or node.dtype != self.h5py.ref_dtype:
            raise CaffeFormatError(f"{where}: a cell array that holds no references", file=self.path)
        if node.size * 8 > self.path.stat().st_size * (1032 if node.chunks else 1):
            raise CaffeFormatError(f"{where}: shape {node.shape} is more than the file can hold", file=self.path)
        references = np.asarray(node[()]).T
        cells = np.empty(references.size, dtype=object)
        for i, reference in enumerate(references.reshape(-1)):
            cells[i] = self.follow(reference, f"{where}{{{i + 1}}}", depth)
        return cells.reshape(references.shape)

    def follow(self, reference: Any, where: str, depth: int) -> Any:
        try:
            target = self.h5py.h5r.dereference(reference, self.file.id)
            if target is None:
                raise ValueError("null reference")
        except Exception as error:  # ValueError, KeyError, RuntimeError, OSError by the kind of damage
            raise CaffeFormatError(f"{where}: the reference leads nowhere ({error!s:.120})", file=self.path) from None
        if isinstance(target, self.h5py.h5d.DatasetID):
            text = self.row_of_text(target, where)
            return self.value(self.h5py.Dataset(target), where, depth + 1) if text is None else text
        if isinstance(target, self.h5py.h5g.GroupID):
            return self.value(self.h5py.Group(target), where, depth + 1)
        raise CaffeFormatError(f"{where}: the reference leads to {type(target).__name__}", file=self.path)

    def row_of_text(self, target: Any, where: str) -> str | None:
        """A plain char row, through the low-level interface: lists have one per image, and this is four times faster."""
        h5a, h5s = self.h5py.h5a, self.h5py.h5s
        if not h5a.exists(target, b"MATLAB_class") or h5a.exists(target, b"MATLAB_empty"):
            return None
        attribute = h5a.open(target, b"MATLAB_class")
        kind = attribute.get_type()
        if kind.get_class() != self.h5py.h5t.STRING or kind.is_variable_str() or kind.get_size() != 4:
            return None
        name = np.empty((), dtype="S4")
        attribute.read(name)
        shape, type_ = target.shape, target.get_type()
        if name[()] != b"char" or len(shape) != 2 or shape[1] != 1:
            return None
        if (
            type_.get_class() != self.h5py.h5t.INTEGER
            or type_.get_size() != 2
            or target.get_storage_size() < 2 * shape[0]
        ):
            return None
        self.spend(2 * shape[0], where)
        codes = np.empty(shape, dtype="<u2")
        target.read(h5s.ALL, h5s.ALL, codes)
        return codes.tobytes().decode("utf-16-le", "replace").rstrip("\0")


def read_mat73(path: Path) -> dict[str, Any]:
    """Variables of a 7.3 file, in the form that `mat_read.read_mat` describes; errors as there."""
    with open_hdf5(path) as file:
        reader = _Reader(file, path)
        return {name: reader.value(file[name], name) for name in file if not name.startswith("#")}


def write_mat73(path: str | Path, variables: Mapping[str, Any]) -> None:
    """Write str, numeric arrays and object arrays of them (cells, nested) as a MATLAB 7.3 file."""
    h5py = import_h5py()
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w", libver="earliest", userblock_size=_USER_BLOCK) as file:
            counter = iter(range(1 << 62))
            for name, value in variables.items():
                _write(file, name, value, counter)
        with open(temporary, "r+b") as raw:
            text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."
            raw.write(text.ljust(116) + b"\0" * 8 + b"\x00\x02IM")


def _write(file: Any, name: str, value: Any, counter: Any) -> Any:
    h5py = import_h5py()
    if isinstance(value, str):
        codes = np.frombuffer(value.encode("utf-16-le"), "<u2").reshape(-1, 1)
        kind, data = "char", codes
    elif value.dtype == object:
        data = np.empty(value.T.shape, dtype=h5py.ref_dtype)
        for index in np.ndindex(value.shape):
            data[index[::-1]] = _write(file, f"#refs#/{next(counter):x}", value[index], counter).ref
        kind = "cell"
    else:
        kind, data = {"float64": "double", "float32": "single"}.get(value.dtype.name, value.dtype.name), value.T
    if data.size == 0:
        node = file.create_dataset(name, data=np.array([0, 0], dtype="<u8"))
        node.attrs["MATLAB_empty"] = np.uint8(1)
    else:
        node = file.create_dataset(name, data=data)
    node.attrs["MATLAB_class"] = np.bytes_(kind)
    if kind == "char":
        node.attrs["MATLAB_int_decode"] = np.int32(2)
    return node
