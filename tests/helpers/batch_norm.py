"""torch's BatchNorm where this project's stands: the wrong port that several checks must notice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def torchs_own(*arguments: Any, relu: bool = False, overwrite: bool = False) -> Tensor:
    """`ports.batch_norm.batch_norm` by torch's kernels."""
    top = torch.batch_norm(*arguments)
    return top.relu_() if relu else top
