"""What a run sets for its whole process, put back after each test: none depends on which were before it."""

from __future__ import annotations

import random
import sys
import warnings
from typing import Any

import numpy as np

#: `ports.determinism.configure` sets these beside the threads, the deterministic algorithms and the seeds.
SWITCHES = [
    ("utils.deterministic", "fill_uninitialized_memory"),
    *(("backends.cudnn", name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    ("backends.cuda.matmul", "allow_tf32"),
]


def seed() -> None:
    """Draws from the global generators are the same whatever was drawn before."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(
            0
        )  # `torch.manual_seed` notes a traceback each time while CUDA has not started
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(0)


def state() -> dict[Any, Any] | None:
    """None where torch is not imported yet."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has newer names for TF32's switches
        found = {(path, name): getattr(_at(torch, path), name) for path, name in SWITCHES}
    return {
        **found,
        "threads": torch.get_num_threads(),
        "strict": torch.are_deterministic_algorithms_enabled(),
        "dtype": torch.get_default_dtype(),
    }


def restore(before: dict[Any, Any] | None) -> None:
    if before is None or (after := state()) == before:
        return
    torch = sys.modules["torch"]
    torch.use_deterministic_algorithms(before["strict"])
    torch.set_default_dtype(before["dtype"])
    if after is None or after["threads"] != before["threads"]:
        torch.set_num_threads(before["threads"])
    for path, name in SWITCHES:
        setattr(_at(torch, path), name, before[path, name])


def _at(torch: Any, path: str) -> Any:
    for name in path.split("."):
        torch = getattr(torch, name)
    return torch
