"""Run a loss on one batch and say in one line what is wrong if it cannot be compared."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from golden.sets import Argument


@dataclass
class Outcome:
    """What the user's loss gave: float64 copies of value and gradients, or a `problem` in words."""

    loss: float = float("nan")
    gradients: tuple[np.ndarray, ...] = ()
    problem: str = ""
    notes: list[str] = field(default_factory=list)


def torch_dtype(dtype: Any) -> Any:
    """torch.float64 of torch.float64, "float64", "torch.float64" or numpy's; ValueError for anything but 32 and 64 bits."""
    import torch

    name = str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return getattr(torch, name)


def tensors(arguments: Sequence[Argument], dtype: Any, device: Any) -> tuple[list[Any], list[Any]]:
    """(all arguments, those with requires_grad): labels as int64, everything else in `dtype`."""
    import torch

    values, leaves = [], []
    for argument in arguments:
        value = torch.tensor(argument.array).to(device)  # a copy: a loss may write into its input
        value = value.long() if argument.is_label else value.to(torch_dtype(dtype))
        if argument.differentiable:
            leaves.append(value.requires_grad_())
        values.append(value)
    return values, leaves


def where(error: BaseException) -> str:
    """`ValueError: message (file.py:12)`, the innermost frame outside torch and this package."""
    others = ("/torch/", "/importlib/", "<frozen", __file__.removesuffix("evaluate.py"))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(o in f.filename for o in others)]
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{place}"


def scalar_of(result: Any, notes: list[str]) -> Any:
    """The loss tensor in what the callable returned; a tuple's first item, dict["loss"] or .loss are taken, with a note."""
    import torch

    if isinstance(result, torch.Tensor):
        return result
    if isinstance(result, tuple | list) and result and isinstance(result[0], torch.Tensor):
        notes.append("took the first of the returned values")
        return result[0]
    if isinstance(result, dict) and isinstance(result.get("loss"), torch.Tensor):
        notes.append('took "loss" of the returned dict')
        return result["loss"]
    if isinstance(getattr(result, "loss", None), torch.Tensor):
        notes.append("took .loss of the returned object")
        return result.loss
    return result


def evaluate(
    loss: Callable[..., Any], arguments: Sequence[Argument], *, dtype: Any, device: Any = "cpu", seed: float = 1.0
) -> Outcome:
    """Value and d(seed * value). Never raises for what the loss does; KeyboardInterrupt and the like pass."""
    import torch

    outcome = Outcome()
    values, leaves = tensors(arguments, dtype, device)
    try:
        value = scalar_of(loss(*values), outcome.notes)
    except (Exception, SystemExit) as error:
        outcome.problem = where(error)
        return outcome
    if not isinstance(value, torch.Tensor):
        outcome.problem = f"returned {type(value).__name__} {str(value)[:40]!r}, not a tensor"
        return outcome
    if value.numel() != 1:
        outcome.problem = f"returned shape {tuple(value.shape)}, a scalar is needed (reduce it, e.g. .mean())"
        return outcome
    outcome.loss = float(value.detach())
    if not torch.isfinite(value).all():
        outcome.problem = f"loss is {outcome.loss}"
        return outcome
    if not value.requires_grad:
        outcome.problem = "loss has no graph: it does not depend on the embeddings (detached, or a fresh tensor)"
        return outcome
    if value.dtype != torch_dtype(dtype):
        outcome.notes.append(f"loss is {str(value.dtype).removeprefix('torch.')}")
    try:
        found = torch.autograd.grad(value.reshape(()) * seed, leaves, allow_unused=True)
    except Exception as error:
        outcome.problem = f"backward: {where(error)}"
        return outcome
    missing = [a.name for a, g in zip((a for a in arguments if a.differentiable), found) if g is None]
    if missing:
        outcome.problem = f"no gradient reaches {', '.join(missing)}"
        return outcome
    outcome.gradients = tuple(g.detach().double().cpu().numpy() for g in found)
    if not all(np.isfinite(g).all() for g in outcome.gradients):
        rows = sorted({int(i) for g in outcome.gradients for i in np.argwhere(~np.isfinite(g))[:, 0]})
        outcome.problem = f"gradient is not finite in rows {rows[:8]}{'...' if len(rows) > 8 else ''}"
    return outcome
