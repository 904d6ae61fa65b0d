"""Caffe's solver snapshots: .solverstate and .solverstate.h5."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats.blobs import fill_blob, to_array
from caffe_compat.formats.hdf5 import is_hdf5, read_hdf5_state, write_hdf5_state
from caffe_compat.formats.wire import parse_message, text_value
from caffe_compat.schema.weights import weights_class
from ports.files import atomic_path


@dataclass
class SolverSnapshot:
    """State of a Caffe solver between two iterations.

    Attributes:
        iter: iterations done.
        learned_net: file name of the weights that belong to it, as the solver recorded it.
        history: the solver's buffers (momentum for SGD) in the order of the net's learnable parameters; AdaDelta and
            Adam store a second set behind the first.
        current_step: how many `stepvalue`s of a multistep policy have passed.
    """

    iter: int
    learned_net: str = ""
    history: list[NDArray[Any]] = field(default_factory=list)
    current_step: int = 0


def read_solverstate(path: str | Path) -> SolverSnapshot:
    """Read a .solverstate or .solverstate.h5 (told by content).

    Raises:
        CaffeFormatError: not such a file, truncated, or values that do not fit their shape.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    if is_hdf5(path):
        return SolverSnapshot(*read_hdf5_state(path))
    state = parse_message(path.read_bytes(), weights_class("SolverState"), file=path)
    if not state.HasField("iter"):
        raise CaffeFormatError('no "iter" in it; not a solverstate?', file=path)
    history = [to_array(blob, f"history {i}", file=path) for i, blob in enumerate(state.history)]
    return SolverSnapshot(
        state.iter, text_value(state.learned_net, "learned_net", file=path), history, state.current_step
    )


def write_solverstate(path: str | Path, state: SolverSnapshot) -> None:
    """Write a snapshot that Caffe can restore; HDF5 when the path ends in .h5 or .hdf5."""
    path = Path(path)
    if path.suffix in (".h5", ".hdf5"):
        write_hdf5_state(path, state.iter, state.learned_net, state.history, state.current_step)
        return
    message = weights_class("SolverState")(iter=state.iter, current_step=state.current_step)
    if state.learned_net:
        message.learned_net = state.learned_net
    for array in state.history:
        fill_blob(message.history.add(), array)
    with atomic_path(path) as temporary:
        temporary.write_bytes(message.SerializeToString())
