"""Checkpoints: one safetensors file each, whole or absent, equal to the bit for equal runs.

A file holds the engine's tensors (parameters, statistics, momentum) and, as JSON in its metadata, the iteration and the
state of the sampler. Nothing that differs between two equal runs (times, host names) is in it. The JSON also holds a
digest over all of that, which every `load` computes again: safetensors itself does not notice a flipped bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from ports.files import atomic_path

if TYPE_CHECKING:  # names and states of checkpoints are looked at without torch
    import torch

FORMAT = "dml-ports checkpoint 2"
_WITHOUT_DIGEST = "dml-ports checkpoint 1"  # still read
_DIGEST = "sha256"


@dataclass
class Checkpoint:
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]  # JSON types: iteration, sampler, fingerprint, seed


#: What safetensors, json and torch raise on a damaged file.
_DAMAGE = (SafetensorError, LookupError, AttributeError, ValueError, TypeError, OSError, RuntimeError, MemoryError)


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: which file and why."""


def path_of(folder: Path, iteration: int) -> Path:
    return folder / f"iteration_{iteration:06d}.safetensors"


def iteration_of(path: Path) -> int:
    """The iteration that a checkpoint's name has: iteration_000040.safetensors."""
    return int(path.stem.split("_")[1])


def save(path: Path, checkpoint: Checkpoint) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    # One key: safetensors writes several in an order that differs from process to process.
    facts = {**checkpoint.state, _DIGEST: digest(tensors, checkpoint.state)}
    metadata = {FORMAT: json.dumps(facts, sort_keys=True)}
    with atomic_path(path, parents=True) as temporary:
        _save_file(tensors, temporary, metadata)


def _save_file(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    try:
        save_file(tensors, str(path), metadata=metadata)
    except SafetensorError as error:  # its I/O errors (disk full) come as this, without an errno
        raise OSError(0, str(error)) from error


def digest(tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> str:
    """sha256 over state and tensors (names, types, shapes, bytes), in the order of the names."""
    import torch

    total = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def load(path: Path) -> Checkpoint:
    """Raises `CheckpointError` where the file is not a whole checkpoint of ours, or not as it was written.

    Checkpoints of versions before the digest have none and are taken as they are.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if not is_ours(metadata):
                raise CheckpointError(f"{path}: not a checkpoint of this program (it has no {FORMAT!r})")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if FORMAT not in metadata:
            state, written = _table(json.loads(metadata[_WITHOUT_DIGEST])), None
        else:
            state = _table(json.loads(metadata[FORMAT]))
            written = state.pop(_DIGEST)
    except CheckpointError:
        raise
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error}") from error
    if written is not None and written != (found := digest(tensors, state)):
        raise CheckpointError(
            f"{path}: damaged: the sha256 of its content is {found[:16]}, it was written with {str(written)[:16]}"
        )
    return Checkpoint(tensors, state)


def _table(state: Any) -> dict[str, Any]:
    if not isinstance(state, dict):
        raise TypeError(f"its state is a {type(state).__name__}, not a table")
    return state


def state_of(path: Path) -> dict[str, Any]:
    """The state alone, without reading the tensors, checking the digest or importing torch. Raises `CheckpointError`."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
        state = _table(json.loads(metadata[FORMAT] if FORMAT in metadata else metadata[_WITHOUT_DIGEST]))
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error}") from error
    return {key: value for key, value in state.items() if key != _DIGEST}


def is_ours(metadata: dict[str, str]) -> bool:
    """Whether a safetensors file with that metadata is a checkpoint of this program."""
    return FORMAT in metadata or _WITHOUT_DIGEST in metadata


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; temporary files of an interrupted write have other names."""
    return next(iter(newest_first(folder)), None)


def newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("iteration_*.safetensors"), reverse=True)


def latest_sound(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that loads. Damaged ones before it are said in one line each and put aside under another name.

    Raises `CheckpointError` where all there are are damaged.
    """
    damaged: list[CheckpointError] = []
    for path in newest_first(folder):
        try:
            load(path)
        except CheckpointError as error:
            damaged.append(error)
            continue
        for what in damaged:
            say(f"{what}; going on from {path.name}")
        _put_aside(newest_first(folder)[: len(damaged)])
        return path
    if damaged:
        raise CheckpointError(f"{damaged[0]}; no sound checkpoint is left in {folder}")
    return None


def _put_aside(paths: list[Path]) -> None:
    for path in paths:
        path.replace(path.with_name(f"damaged_{path.name}"))
