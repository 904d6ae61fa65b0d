"""What goes into a loss of NumPy arrays, and what may come out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Problem

if TYPE_CHECKING:
    from ..cases import Argument


def arrays(arguments: Sequence[Argument], dtype: str) -> list[np.ndarray]:
    """Copies: labels as int64, everything else in `dtype`."""
    return [a.array.astype(np.int64 if a.is_label else dtype, copy=True) for a in arguments]


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
