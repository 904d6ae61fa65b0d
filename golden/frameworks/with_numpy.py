"""Losses of NumPy arrays: value and gradient returned, or the value alone, then differentiated by finite differences.

return value, gradient                    # one array, or a tuple of arrays in the order of the set's starred arguments
return {"loss": value, "gradient": gradient, "attention": attention}     # where a set compares further outputs
return value
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from golden.frameworks import Problem

if TYPE_CHECKING:
    from golden.evaluate import Outcome
    from golden.sets import Argument


def arrays(arguments: Sequence[Argument], dtype: str) -> list[np.ndarray]:
    """Copies: labels as int64, everything else in `dtype`."""
    return [a.array.astype(np.int64 if a.is_label else dtype, copy=True) for a in arguments]


def run(
    loss: Callable[..., Any], arguments: Sequence[Argument], dtype: str, device: Any, upstream: float,
    outputs: tuple[str, ...], outcome: Outcome,
) -> None:  # fmt: skip
    """Value and gradient as returned. `device` means nothing here."""
    leaves = [a for a in arguments if a.differentiable]
    value, gradients, more = split(loss(*arrays(arguments, dtype)), outputs)
    outcome.loss = scalar(value)
    outcome.outputs = {name: np.asarray(found, np.float64) for name, found in more.items()}
    if gradients is None:
        from golden.frameworks.differences import by_differences

        outcome.gradients = by_differences(loss, arguments, outputs, upstream)
        outcome.notes.append("gradient by finite differences of the value, in float64")
        outcome.by_differences = True
        return
    if len(gradients) != len(leaves):
        raise Problem(
            f"returned {len(gradients)} gradients, {len(leaves)} are needed: by {', '.join(a.name for a in leaves)}"
        )
    outcome.gradients = tuple(upstream * np.asarray(g, np.float64) for g in gradients)


def scalar(value: Any) -> float:
    """Problem for anything but one finite number."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise Problem(f"returned {type(value).__name__} {str(value)[:40]!r}, not (value, gradient)") from None
    if array.size != 1:
        raise Problem(f"returned a value of shape {array.shape}, a scalar is needed")
    if not np.isfinite(array).all():
        raise Problem(f"loss is {float(array.reshape(()))}")
    return float(array.reshape(()))


def split(result: Any, outputs: tuple[str, ...]) -> tuple[Any, tuple[Any, ...] | None, dict[str, Any]]:
    """(value, gradients or None, further outputs) of what the callable returned."""
    if isinstance(result, dict):
        value, gradients = result.get("loss"), result.get("gradient")
        missing = [name for name in outputs if result.get(name) is None]
        if missing:
            raise Problem(
                f'the set compares {", ".join(missing)} too: return {{"loss": ..., "gradient": ..., "{missing[0]}": ...}}'
            )
        more = {name: result[name] for name in outputs}
    else:
        value, gradients, more = result, None, {}
        if isinstance(result, tuple | list):
            if len(result) < 2:
                raise Problem(f"returned {len(result)} values, not (value, gradient)")
            value, gradients = result[0], result[1] if len(result) == 2 else tuple(result[1:])
        if outputs:
            raise Problem(
                f'the set compares {", ".join(outputs)} too: return {{"loss": ..., "gradient": ..., "{outputs[0]}": ...}}'
            )
    if gradients is not None and not isinstance(gradients, tuple | list):
        gradients = (gradients,)
    return value, None if gradients is None else tuple(gradients), more
