"""One seed, one result: random streams by purpose, deterministic kernels, and the record of what a run ran on.

A run is a function of (recipe, data, weights, seed, kind of machine). Each purpose has a random stream of its own, keyed
by what it is drawn for and not by when: image augmentation is keyed by (iteration, position in the batch), so it does not
depend on the number of loader workers, and changing one stream does not shift another.
"""

from __future__ import annotations

import os
import platform
import random
import sys
from typing import Any, Literal

import numpy as np

Purpose = Literal["sampler", "augmentation", "init", "subset", "other"]
_PURPOSES: dict[str, int] = {"sampler": 1, "augmentation": 2, "init": 3, "subset": 4, "other": 5}

CUBLAS_WORKSPACES = (":4096:8", ":16:8")


def stream(seed: int, purpose: Purpose, *counter: int) -> np.random.Generator:
    """The random stream of one purpose (and one counter, such as iteration and position): PCG64 on a SeedSequence.

    Counters that differ only by zeros at their end are the same to a SeedSequence: (5,) and (5, 0).
    """
    return np.random.default_rng([seed, _PURPOSES[purpose], *counter])


def torch_seed(seed: int, purpose: Purpose) -> int:
    """A 63-bit seed for a `torch.Generator` of that purpose."""
    return int(stream(seed, purpose).integers(2**63 - 1))


def configure(seed: int, *, strict: bool = True, threads: int | None = None, cudnn: bool = True) -> None:
    """Seed Python, NumPy and torch and, with `strict`, allow deterministic algorithms in full precision only.

    `strict=False` keeps the seeds but lets TF32, cuDNN's autotuning and nondeterministic kernels in: such a run is not
    comparable and says so in its record. `cudnn=False` leaves cuDNN out: PyTorch's own CUDA kernels compute then.

    Raises:
        RuntimeError: CUDA has started without CUBLAS_WORKSPACE_CONFIG: cuBLAS reads it once, so it cannot be mended
            any more.
    """
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - for third-party code that draws from the global state
    torch.manual_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)
    # Filling fresh memory with NaN helps to find reads of it; it costs a tenth of a step and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.enabled = cudnn
    torch.backends.cudnn.benchmark = not strict
    torch.backends.cudnn.deterministic = strict
    torch.backends.cuda.matmul.allow_tf32 = not strict
    torch.backends.cudnn.allow_tf32 = not strict
    unset = os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in CUBLAS_WORKSPACES
    if strict and unset and torch.cuda.is_available():
        if torch.cuda.is_initialized():
            raise RuntimeError(
                "CUDA started without CUBLAS_WORKSPACE_CONFIG, so cuBLAS may give different bits each time; "
                f"set CUBLAS_WORKSPACE_CONFIG={CUBLAS_WORKSPACES[0]} before Python starts (the tox environments do)"
            )
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACES[0]


def environment() -> dict[str, Any]:
    """What could change the bits of a result: versions, device, threads, switches. JSON types only."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "cudnn_enabled": torch.backends.cudnn.enabled if cuda else None,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32,
        "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
