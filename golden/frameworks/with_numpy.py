"""Losses of NumPy arrays: value and gradient returned, or the value alone, then differentiated by finite differences.

return value, gradient                    # one array, or a tuple of arrays in the order of the set's starred arguments
return {"loss": value, "gradient": gradient, "attention": attention}     # where a set compares further outputs
return value
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Problem
from .differences import BY_DIFFERENCES, by_differences
from .numpy_values import arrays, scalar, split

if TYPE_CHECKING:
    from ..cases import Argument
    from ..evaluate import Outcome


def run(
    loss: Callable[..., Any], arguments: Sequence[Argument], dtype: str, device: Any, upstream: float,
    outputs: tuple[str, ...], outcome: Outcome,
) -> None:  # fmt: skip
    """Value and gradient as returned. `device` means nothing here."""
    leaves = [a for a in arguments if a.differentiable]
    with np.errstate(all="ignore"):  # what is not finite becomes a row of the report
        given = arrays(arguments, dtype)
        result = loss(*given)
    changed = [
        a.name for a, old, new in zip(arguments, arrays(arguments, dtype), given) if not np.array_equal(old, new)
    ]
    if changed:
        raise Problem(f"writes into its input: {', '.join(changed)}")
    value, gradients, more = split(result, outputs)
    outcome.loss = scalar(value)
    outcome.outputs = {name: np.asarray(found, np.float64) for name, found in more.items()}
    if gradients is None:
        outcome.gradients = by_differences(loss, arguments, outputs, upstream)
        outcome.notes.append(BY_DIFFERENCES)
        outcome.by_differences = True
        return
    if len(gradients) != len(leaves):
        raise Problem(
            f"returned {len(gradients)} gradients, {len(leaves)} are needed: by {', '.join(a.name for a in leaves)}"
        )
    outcome.gradients = tuple(upstream * np.asarray(g, np.float64) for g in gradients)
