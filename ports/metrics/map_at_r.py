"""R-precision and MAP@R: what the nearest R items hold, R being the number of items that match the query.

Musgrave, Belongie & Lim, "A Metric Learning Reality Check", 2020, section 3.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ports.metrics.ranking import Rows, full_precision

_HELD = 2**24  # scores held at once


class MapAtR(NamedTuple):
    """Means over the queries that have a match; `queries` counts these, `without_match` the others."""

    r_precision: float
    map_at_r: float
    queries: int
    without_match: int


@full_precision()
@torch.no_grad()
def map_at_r(
    embeddings: Any, labels: Any, *, gallery: Any = None, gallery_labels: Any = None, device: Any = None
) -> MapAtR:
    """Cosine retrieval of (N, D) rows among each other (the query itself excluded), or in `gallery` (M, D).

    R-precision: share of matches among the R nearest. MAP@R: (1/R) sum over ranks i <= R of precision(i) where item i
    matches. Equal scores keep the order of the gallery. A query without a match counts in neither mean.
    A zero row scores 0 against everything. Raises ValueError for rows that are not finite.
    """
    source, target = _array(embeddings), _array(embeddings if gallery is None else gallery)
    arrays = [
        np.asarray(x.cpu() if isinstance(x, Tensor) else x).reshape(-1)
        for x in (labels, gallery_labels)[: 1 + (gallery is not None)]
    ]
    codes = np.unique(np.concatenate(arrays), return_inverse=True)[1].astype(np.int64)
    device = torch.device(device or (target.device if isinstance(target, Tensor) else "cpu"))
    y = torch.from_numpy(codes[: len(source)]).to(device)
    gy = y if gallery is None else torch.from_numpy(codes[len(source) :]).to(device)
    if len(gy) != len(target) or len(y) != len(source):
        raise ValueError(f"{len(source)} embeddings and {len(target)} gallery rows, but {len(y)} and {len(gy)} labels")
    order, name = np.arange(len(target)), "embeddings" if gallery is None else "gallery"
    g = Rows(target, order, normalize=True, device=device, cache=2**62, name=name).block(0, len(target))
    x = Rows(source, np.arange(len(source)), normalize=True, device=device, cache=0, name="embeddings")
    own = gallery is None
    sizes = torch.bincount(gy, minlength=int(codes.max()) + 1)[y] - int(own)
    precision = torch.zeros(len(source), dtype=torch.float64, device=device)
    average = torch.zeros_like(precision)
    rows = max(_HELD // len(target), 1)
    for start in range(0, len(source), rows):
        stop = min(start + rows, len(source))
        r = sizes[start:stop]
        k = int(r.max())
        if k == 0:
            continue
        scores = (x.block(start, stop) @ g.T)[: stop - start, : len(target)]
        if own:
            scores.diagonal(start)[: stop - start] = -torch.inf
        hit = gy[nearest(scores, k)] == y[start:stop, None]
        place = torch.arange(1, k + 1, device=device)
        hit &= place <= r[:, None]
        share = hit.to(torch.float64)
        r = r.clamp(min=1)
        precision[start:stop] = share.sum(1) / r
        average[start:stop] = (share * share.cumsum(1) / place).sum(1) / r
    known = sizes > 0
    n = int(known.sum())
    mean = [float(values[known].mean()) if n else float("nan") for values in (precision, average)]
    return MapAtR(mean[0], mean[1], n, len(source) - n)


def nearest(scores: Tensor, k: int) -> Tensor:
    """(Q, k) columns of the k largest scores (Q, M) of each row, equal scores in the order of the columns."""
    values, columns = scores.topk(k, dim=1)
    columns = columns.sort(dim=1).values
    columns = columns.gather(1, scores.gather(1, columns).argsort(dim=1, descending=True, stable=True))
    # topk may take any of the scores equal to the last one: rows where it had a choice are sorted in full.
    choice = (scores >= values[:, -1:]).sum(1) > k
    if choice.any():
        columns[choice] = scores[choice].argsort(dim=1, descending=True, stable=True)[:, :k]
    return columns


def _array(x: Any) -> Any:
    return x if isinstance(x, Tensor) else np.asanyarray(x)
