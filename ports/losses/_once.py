"""Gradients that are constants to autograd: a second derivative through them must not come out as zero or as a part."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Refuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *depends_on: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        raise RuntimeError("this loss has no second derivative: its gradient is computed once, as a constant")


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For the `backward` of an autograd.Function: whoever differentiates its result gets RuntimeError.

    The function must save the inputs that its gradient depends on. torch's once_differentiable looks at the incoming gradient
    alone; that is the constant 1 in the usual case, and then a second derivative comes out that lacks the loss's own part.
    """

    @functools.wraps(backward)
    def wrapper(ctx: Any, *gradients: Tensor) -> Any:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # nobody wants to go on from here
            return backward(ctx, *gradients)
        with torch.no_grad():
            found = backward(ctx, *gradients)
        depends_on = [t for t in (*gradients, *ctx.saved_tensors) if t is not None and t.requires_grad]
        parts = found if isinstance(found, tuple) else (found,)
        parts = tuple(_Refuse.apply(part, *depends_on) if isinstance(part, Tensor) else part for part in parts)
        return parts if isinstance(found, tuple) else parts[0]

    return wrapper
