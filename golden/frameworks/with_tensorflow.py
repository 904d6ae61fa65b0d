"""Losses of TensorFlow tensors, Keras' among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from . import Problem, unpack

if TYPE_CHECKING:
    from ..cases import Argument
    from ..evaluate import Outcome


def is_tensor(value: Any) -> bool:
    return isinstance(value, tf.Tensor | tf.Variable)


def run(
    loss: Callable[..., Any], arguments: Sequence[Argument], dtype: str, device: Any, upstream: float,
    outputs: tuple[str, ...], outcome: Outcome,
) -> None:  # fmt: skip
    """Value by a call, gradient by a GradientTape."""
    values = [tf.constant(a.array, tf.int64 if a.is_label else dtype) for a in arguments]
    leaves = [value for value, a in zip(values, arguments) if a.differentiable]
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        value, more = unpack(loss(*values), outputs, is_tensor, outcome.notes)
        if not is_tensor(value):
            raise Problem(f"returned {type(value).__name__} {str(value)[:40]!r}, not a tensor")
        if int(tf.size(value)) != 1:
            raise Problem(f"returned shape {tuple(value.shape)}, a scalar is needed (reduce it, e.g. tf.reduce_mean)")
        scaled = tf.reshape(value, ()) * tf.constant(upstream, value.dtype)
    outcome.loss = float(tf.reshape(value, ()))
    if not np.isfinite(outcome.loss):
        raise Problem(f"loss is {outcome.loss}")
    if value.dtype.name != dtype:
        outcome.notes.append(f"loss is {value.dtype.name}")
    outcome.outputs = {name: np.asarray(found, np.float64) for name, found in more.items()}
    gradients = tape.gradient(scaled, leaves)
    missing = [a.name for a, g in zip((a for a in arguments if a.differentiable), gradients) if g is None]
    if missing:
        raise Problem(f"no gradient reaches {', '.join(missing)}")
    # A gather's gradient is a list of rows (IndexedSlices): made whole.
    outcome.gradients = tuple(np.asarray(tf.convert_to_tensor(g), np.float64) for g in gradients)
