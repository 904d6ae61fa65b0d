"""Caffe's and MATLAB's files; seeds by our own writers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from caffe_compat import (
    CaffeFormatError,
    DialectError,
    Solver,
    UnsupportedLayerError,
    load_net,
    read_binaryproto,
    read_caffemodel,
    read_net,
    read_solver,
    read_solverstate,
    save_split,
    write_binaryproto,
    write_caffemodel,
    write_solverstate,
)
from caffe_compat.files import read_npy, read_npz
from caffe_compat.formats.solverstate import SolverSnapshot
from caffe_compat.matlab.lists import load_splits
from ports.datasets.split import Split
from tests.fuzz.format import Format

NET = """name: "n"
input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 8 }
input: "label" input_shape { dim: 2 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 weight_filler { type: "xavier" std: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 1 }
"""
SMALL = """input: "data" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 4
layers { name: "fc" type: INNER_PRODUCT bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layers { name: "relu" type: RELU bottom: "fc" top: "fc" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.1 lr_policy: "multistep" gamma: 0.5 stepvalue: 10 stepvalue: 20
momentum: 0.9 weight_decay: 0.0002 max_iter: 30 snapshot: 5 snapshot_prefix: "s" random_seed: 7
"""
_BLOBS = [np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.ones(2, np.float32)]
_FORMAT = (CaffeFormatError,)
_NET = (CaffeFormatError, DialectError, UnsupportedLayerError)


def _written(suffix: str, *writers: Callable[[Path], object]) -> Callable[[Path], list[bytes]]:
    """Seeds from writers of a path."""

    def make(folder: Path) -> list[bytes]:
        contents = []
        for number, write in enumerate(writers):
            path = folder / f"seed{number}{suffix}"
            write(path)
            contents.append(path.read_bytes())
        return contents

    return make


def _texts(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [text.encode() for text in texts]


def _split(rows: int, boxes: bool = False) -> Split:
    paths = [f"images/{i % 3:03d}/{i}.jpg" for i in range(rows)]
    box = np.arange(rows * 4, dtype=float).reshape(rows, 4) if boxes else None
    return Split(paths, np.arange(rows) % 3 + 1, "train", boxes=box)


def _mat(version: str) -> Callable[[Path], list[bytes]]:
    return _written(
        ".mat",
        lambda path: save_split(_split(9), path, version=version),
        lambda path: save_split(_split(5, boxes=True), path, version=version),
    )


def _solver_seeds(folder: Path) -> list[bytes]:
    (folder / "net.prototxt").write_text(NET)
    return [SOLVER.encode(), ("train_net_param { " + SMALL + '} base_lr: 0.1 lr_policy: "fixed"\n').encode()]


def _save_npz(path: Path) -> None:
    np.savez(path, **{"conv:0": _BLOBS[0], "conv:1": _BLOBS[1]})


def _save_packed(path: Path) -> None:
    np.savez_compressed(path, **{"conv:0": np.zeros((50, 50), np.float32), "b:0": _BLOBS[1]})


def _state() -> SolverSnapshot:
    return SolverSnapshot(3, "s.caffemodel", [np.ones((2, 3), np.float32), np.zeros(2, np.float32)], 1)


CAFFE = [
    Format(
        "caffemodel",
        "x.caffemodel",
        _written(
            ".caffemodel",
            lambda path: write_caffemodel(path, {"conv": _BLOBS, "fc": _BLOBS}, types={"conv": "Convolution"}),
            lambda path: write_caffemodel(path, {"fc": [np.ones((3, 3))]}, net=read_net(NET)),
        ),
        read_caffemodel,
        _FORMAT,
    ),
    Format(
        "caffemodel-h5",
        "x.caffemodel.h5",
        _written(".caffemodel.h5", lambda path: write_caffemodel(path, {"conv": _BLOBS, "fc": _BLOBS})),
        read_caffemodel,
        _FORMAT,
    ),
    Format(
        "solverstate",
        "x.solverstate",
        _written(".solverstate", lambda p: write_solverstate(p, _state())),
        read_solverstate,
        _FORMAT,
    ),
    Format(
        "solverstate-h5",
        "x.solverstate.h5",
        _written(".solverstate.h5", lambda p: write_solverstate(p, _state())),
        read_solverstate,
        _FORMAT,
    ),
    Format(
        "binaryproto",
        "x.binaryproto",
        _written(
            ".binaryproto",
            lambda path: write_binaryproto(path, np.ones((3, 5, 5), np.float32)),
            lambda path: write_binaryproto(path, np.ones((2, 3))),
        ),
        read_binaryproto,
        _FORMAT,
    ),
    Format("prototxt-net", "x.prototxt", _texts(NET, SMALL), read_net, _NET),
    Format("prototxt-solver", "x.prototxt", _texts(SOLVER), read_solver, _NET),
    Format("load-net", "x.prototxt", _texts(NET, SMALL), load_net, _NET),
    # FileNotFoundError: the net that the solver names; ValueError: a type or policy that Caffe does not have.
    Format("solver", "x.prototxt", _solver_seeds, Solver, (*_NET, FileNotFoundError)),
    Format("npz", "x.npz", _written(".npz", _save_npz, _save_packed), read_npz, _FORMAT),
    Format("npy", "x.npy", _written(".npy", lambda path: np.save(path, _BLOBS[0])), read_npy, _FORMAT),
    *(Format(f"mat-{v}", "x.mat", _mat(v), load_splits, _FORMAT) for v in ("4", "6", "7", "7.3")),
]
