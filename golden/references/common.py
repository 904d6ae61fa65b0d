"""What several references share."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import Var


def float32(value: float) -> float:
    """A setting as protobuf's float field keeps it."""
    return float(np.float32(value))


def squared_differences(x: Any, y: Any) -> Var:
    """(N, M) squared distances of rows, from the differences themselves: exact zeros for equal rows."""
    difference = x.reshape(len(x), 1, -1) - y.reshape(1, len(y), -1)
    squared: Var = difference.square().sum(-1)
    return squared
