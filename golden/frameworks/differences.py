"""The gradient of a value by finite differences, in float64, where a loss returns no gradient.

Four-point central differences: with a step h the error is h^4 times the fifth derivative plus rounding / h. With losses
whose temperature is 50 and h = 1e-4 that is 1e-9 of the gradient, rounding 1e-12: `RTOL` leaves a factor of 1000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Problem
from .numpy_values import arrays, scalar, split

if TYPE_CHECKING:
    from ..cases import Argument

RTOL = 1e-6
BY_DIFFERENCES = "gradient by finite differences of the value, in float64"
_STEP = 1e-4
_LARGEST = 1500  # entries: four values each


def by_differences(
    loss: Callable[..., Any], arguments: Sequence[Argument], outputs: tuple[str, ...], upstream: float
) -> tuple[np.ndarray, ...]:
    """Problem where the batch is too large, or where two steps disagree: a kink, which the original sets a rule for."""
    whole = arrays(arguments, "float64")
    leaves = [k for k, a in enumerate(arguments) if a.differentiable]
    entries = sum(whole[k].size for k in leaves)
    if entries > _LARGEST:
        raise Problem(f"{entries} entries are too many for finite differences: return (value, gradient)")

    def at(k: int, index: tuple[int, ...], step: float) -> float:
        moved = [array.copy() for array in whole]
        moved[k][index] += step
        with np.errstate(all="ignore"):
            return scalar(split(loss(*moved), outputs)[0])

    def slope(k: int, index: tuple[int, ...], h: float) -> float:
        near, far = (at(k, index, s * h) - at(k, index, -s * h) for s in (1, 2))
        return (8 * near - far) / (12 * h)

    found = []
    for k in leaves:
        gradient, check = np.zeros(whole[k].shape), np.zeros(whole[k].shape)
        for index in np.ndindex(gradient.shape):
            gradient[index], check[index] = slope(k, index, _STEP), slope(k, index, _STEP / 2)
        if np.abs(gradient - check).max() > RTOL * max(np.abs(check).max(), 1e-12):
            raise Problem("finite differences disagree: the value has a kink at this batch; return (value, gradient)")
        found.append(upstream * check)
    return tuple(found)
