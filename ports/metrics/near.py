"""Queries that rounding may decide: their best match and the item that would displace it score almost the same.

Another processor, number of threads or library adds up in another order and moves a cosine of float32 by a few 1e-7. A network that
maps everything to nearly one place (untrained, collapsed) has many pairs that close, and its recall is then one of several true ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Of a score (cosine, inner product or distance): several times the rounding of a float32 product of unit rows.
NEAR = 1e-6


def near_counts(clear: Any, close: Any, ks: Iterable[int]) -> dict[int, int]:
    """K -> queries whose hit at K is decided by at most NEAR, exact ties included.

    clear (Q,): negatives ahead of the query's best match by more than NEAR. close (Q,): those not behind it by more. Of a query
    without a match both are equal.
    """
    return {k: int(((clear < k) & (close >= k)).sum()) for k in ks}
