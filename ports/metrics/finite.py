"""Rows that no metric can rank: NaN compares false with everything, so such a query would count as a hit or as a miss.

A network that diverged embeds every picture as NaN, and "fewer than K negatives score higher" is then true: recall 100 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_NOT_FINITE = "are not finite (NaN, infinity or too large to be squared)"
_BLOCK = 8192  # rows looked at at once


class RowsError(ValueError):
    """Rows (or distances) that cannot be ranked: what they are of, how many, and which is the first."""


def refuse(bad: Any, name: str, state: str, item: str = "row") -> None:
    """RowsError with how many entries of `bad` (N,) bool are set and which is the first; nothing where none is."""
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        count, first = int(bad.sum()), int(bad.argmax())
        raise RowsError(f"{name}: {count} of {len(bad)} {item}s {state}, the first is {item} {first}")


def check_rows(rows: Any, name: str = "embeddings", *, directions: bool = False) -> None:
    """RowsError that counts the rows of `rows` (N, D) whose sum of squares is not finite, and names the first.

    rows: array, tensor or memory map, read a block at a time. directions: zero rows are refused as well.
    """
    squares = [np.zeros(0)]
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        part = block.detach() if isinstance(block, Tensor) else torch.from_numpy(np.array(block))
        # The sums that the metrics take: in double for double, else in single precision.
        part = part.to(torch.float64 if part.dtype == torch.float64 else torch.float32)
        squares.append(part.square().sum(1).cpu().numpy())
    sums = np.concatenate(squares)
    refuse(~np.isfinite(sums), name, _NOT_FINITE)
    if directions:
        refuse(sums == 0, name, "are zero and have no direction")
