"""Checkpoints: one safetensors file each, whole or absent, equal to the bit for equal runs.

A file holds the engine's tensors (parameters, statistics, momentum) and, as JSON in its metadata, the iteration and the
state of the sampler. Nothing that differs between two equal runs (times, host names) is in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from paper_recipes.runner.files import write_atomically

FORMAT = "dml-ports checkpoint 1"


@dataclass
class Checkpoint:
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]  # JSON types: iteration, sampler, fingerprint, seed


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: which file and why."""


def path_of(folder: Path, iteration: int) -> Path:
    return folder / f"iteration_{iteration:06d}.safetensors"


def save(path: Path, checkpoint: Checkpoint) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    # One key: safetensors writes several in an order that differs from process to process.
    metadata = {FORMAT: json.dumps(checkpoint.state, sort_keys=True)}
    write_atomically(path, lambda temporary: _save_file(tensors, temporary, metadata))


def _save_file(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, str(path), metadata=metadata)
    except SafetensorError as error:  # its I/O errors (disk full) come as this, without an errno
        raise OSError(0, str(error)) from error


def load(path: Path) -> Checkpoint:
    """Raises `CheckpointError` where the file is not a whole checkpoint of ours."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if FORMAT not in metadata:
                raise CheckpointError(f"{path}: not a checkpoint of this program (it has no {FORMAT!r})")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        return Checkpoint(tensors, json.loads(metadata[FORMAT]))
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error}") from error


def sweep(folder: Path) -> None:
    """Remove what a killed process left of a checkpoint it was writing."""
    for path in folder.glob(".iteration_*.safetensors.*"):
        path.unlink(missing_ok=True)


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; temporary files of an interrupted write have other names."""
    found = sorted(folder.glob("iteration_*.safetensors"))
    return found[-1] if found else None
