"""One number that says whether a step's gradients are numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def norm(parameters: Iterable[Tensor]) -> Tensor:
    """() Euclidean norm of all their gradients, on their device: one fused pass, and nobody waits before it is read."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    # The public get_total_norm does just this, from torch 2.6 on.
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
