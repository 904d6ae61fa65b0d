"""Batches for losses: rows of a few classes around centres of their own, and the gradient at them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

# Rows a little longer than 1: the originals drop the self pair by `similarity < 1`, which rounding decides at length 1.
ABOVE_ONE = 1.0001


def clustered(
    labels: Tensor | None = None,
    *,
    n: int = 12,
    classes: int = 4,
    dim: int = 6,
    spread: float = 1.0,
    length: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Rows (n, dim) of `length`: a centre per class plus `spread` times noise. Labels are drawn by the seed where not given."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator) if labels is None else labels.clone()
    centres = torch.randn(max(classes, int(labels.max()) + 1), dim, generator=generator, dtype=torch.float64)
    x = centres[labels] + spread * torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return (length * normalize(x)).to(dtype), labels


def value_and_gradient(loss: torch.nn.Module, x: Tensor, *arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Loss at a copy of `x`, and its gradient there."""
    x = x.detach().clone().requires_grad_()
    value = loss(x, *arguments, **options)
    value.backward()
    assert x.grad is not None
    return value.detach(), x.grad
