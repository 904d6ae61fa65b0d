"""Run a plain reference on a batch: value, gradients and further outputs, with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .cases import Argument, as_double
from .evaluate import Outcome
from .references import Reference
from .tape import Var, detach, gradients


def compute(
    reference: Reference,
    params: dict[str, Any],
    arguments: Sequence[Argument],
    deviations: frozenset[str] = frozenset(),
    upstream: float = 1.0,
) -> Outcome:
    """What the formula gives at these settings with these deviations; never anything but numbers, NaN among them."""
    values = [Var(a.array) if a.differentiable else as_double(a.array) for a in arguments]
    leaves = [value for value in values if isinstance(value, Var)]
    with np.errstate(all="ignore"):  # a wrong setting may overflow; the comparison says so
        try:
            value, surrogate, *more = reference.function(values, params, deviations)
        except (ValueError, ZeroDivisionError) as error:  # settings at which the formula means nothing
            nothing = tuple(np.full(leaf.shape, np.nan) for leaf in leaves)
            return Outcome(gradients=nothing, problem=str(error))
        found = gradients(surrogate, leaves)
    outputs = {name: np.asarray(detach(output)) for name, output in (more[0] if more else {}).items()}
    return Outcome(float(detach(value)), tuple(upstream * g for g in found), outputs)
