"""One number that says whether many tensors hold numbers: their norm, in one fused pass."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def norm(parameters: Iterable[Tensor]) -> Tensor:
    """() Euclidean norm of all their gradients, on their device: one fused pass, and nobody waits before it is read."""
    return total_norm([p.grad for p in parameters if p.grad is not None])


def total_norm(tensors: list[Tensor]) -> Tensor:
    """() Euclidean norm of everything in `tensors`; finite only if all of it is."""
    if not tensors:
        return torch.zeros(())
    # The public get_total_norm does just this, from torch 2.6 on, for one dtype.
    norms = torch._foreach_norm(tensors)
    parts = [torch.stack([n for n in norms if n.dtype == dtype]).double() for dtype in {n.dtype for n in norms}]
    return torch.linalg.vector_norm(torch.cat(parts))
