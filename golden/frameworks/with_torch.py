"""Losses of torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..faults import where
from . import Problem, unpack

if TYPE_CHECKING:
    from ..cases import Argument
    from ..evaluate import Outcome


def tensors(arguments: Sequence[Argument], dtype: str, device: Any) -> tuple[list[Any], list[Any]]:
    """(all arguments, those with requires_grad): labels as int64, everything else in `dtype`."""
    values, leaves = [], []
    for argument in arguments:
        value = torch.tensor(argument.array).to(device)  # a copy: a loss may write into its input
        value = value.long() if argument.is_label else value.to(getattr(torch, dtype))
        if argument.differentiable:
            leaves.append(value.requires_grad_())
        values.append(value)
    return values, leaves


def is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def run(
    loss: Callable[..., Any], arguments: Sequence[Argument], dtype: str, device: Any, upstream: float,
    outputs: tuple[str, ...], outcome: Outcome,
) -> None:  # fmt: skip
    """Value by a call, gradient by autograd."""
    values, leaves = tensors(arguments, dtype, device)
    result = loss(*values)
    changed = [
        a.name
        for a, v in zip(arguments, values)
        if not torch.equal(v.detach().cpu(), torch.tensor(a.array).to(v.dtype))
    ]
    if changed:
        raise Problem(f"writes into its input: {', '.join(changed)}")
    value, more = unpack(result, outputs, is_tensor, outcome.notes)
    if not isinstance(value, torch.Tensor):
        raise Problem(f"returned {type(value).__name__} {str(value)[:40]!r}, not a tensor")
    if value.numel() != 1:
        raise Problem(f"returned shape {tuple(value.shape)}, a scalar is needed (reduce it, e.g. .mean())")
    outcome.loss = float(value.detach())
    if not torch.isfinite(value).all():
        raise Problem(f"loss is {outcome.loss}")
    if not value.requires_grad:
        raise Problem("loss has no graph: it does not depend on the embeddings (detached, or a fresh tensor)")
    if value.dtype != getattr(torch, dtype):
        outcome.notes.append(f"loss is {str(value.dtype).removeprefix('torch.')}")
    outcome.outputs = {name: found.detach().double().cpu().numpy() for name, found in more.items()}
    try:
        found = torch.autograd.grad(value.reshape(()) * upstream, leaves, allow_unused=True)
    except Exception as error:
        raise Problem(f"backward: {where(error)}") from error
    missing = [a.name for a, g in zip((a for a in arguments if a.differentiable), found) if g is None]
    if missing:
        raise Problem(f"no gradient reaches {', '.join(missing)}")
    outcome.gradients = tuple(g.detach().double().cpu().numpy() for g in found)
