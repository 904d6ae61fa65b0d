"""Numbers as single precision keeps them."""

from __future__ import annotations

import numpy as np


def f32(value: float) -> float:
    """`value` as protobuf stores it: a Caffe layer sees 1.2f = 1.2000000476837158, also when it computes in double."""
    return float(np.float32(value))
