"""Losses of JAX arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from . import Problem, unpack

if TYPE_CHECKING:
    from ..cases import Argument
    from ..evaluate import Outcome


def is_array(value: Any) -> bool:
    return isinstance(value, jax.Array)


def run(
    loss: Callable[..., Any], arguments: Sequence[Argument], dtype: str, device: Any, upstream: float,
    outputs: tuple[str, ...], outcome: Outcome,
) -> None:  # fmt: skip
    """Value and gradient by `jax.value_and_grad`, with 64-bit types switched on for the time of the call."""

    def scalar(*values: Any) -> tuple[Any, dict[str, Any]]:
        value, more = unpack(loss(*values), outputs, is_array, outcome.notes)
        if not is_array(value):
            raise Problem(f"returned {type(value).__name__} {str(value)[:40]!r}, not a JAX array")
        if value.size != 1:
            raise Problem(f"returned shape {value.shape}, a scalar is needed (reduce it, e.g. .mean())")
        return value.reshape(()), {**more, "": value}

    with jax.enable_x64(True):
        values = [jnp.asarray(a.array, "int64" if a.is_label else dtype) for a in arguments]
        leaves = tuple(k for k, a in enumerate(arguments) if a.differentiable)
        (value, more), gradients = jax.value_and_grad(scalar, argnums=leaves, has_aux=True)(*values)
        outcome.loss = float(value)
        if not np.isfinite(outcome.loss):
            raise Problem(f"loss is {outcome.loss}")
        if str(more.pop("").dtype) != dtype:
            outcome.notes.append(f"loss is {value.dtype}")
        outcome.outputs = {name: np.asarray(found, np.float64) for name, found in more.items()}
        outcome.gradients = tuple(upstream * np.asarray(g, np.float64) for g in gradients)
