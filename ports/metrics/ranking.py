"""How many gallery items stand ahead of each query's best match: the one number that every recall@K needs.

Queries and gallery are taken in the order of their labels. A block of queries then has all its matches in a short run of
the gallery: those blocks of the product are computed first and give the best match, every other block is compared with it
as soon as it exists. Each score is computed once, nothing is sorted, and no more than a few blocks are held. Exact ties
are seen as such because a score is never computed a second time, in another order of summation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ports.metrics.finite import check_rows
from ports.metrics.near import NEAR

NEVER = torch.iinfo(torch.int64).max  # items ahead of a match that does not exist
_TILE = 16  # a matrix product gives an entry the same bits wherever it stands, if both sides are a multiple of this
_CPU_BLOCK, _CUDA_BLOCK = (512, 1024), (4096, 8192)  # queries x gallery rows of one product; multiples of the tile
_AGAIN = 64  # queries compared again at once
_HELD = 2**25  # scores held at once while a block's best matches are looked for (128 MiB in float32)


@dataclass(frozen=True)
class Ahead:
    """Per query (int64, NEVER where the gallery has no match), negatives ahead of the best match.

    above: those with a strictly greater score. at_least: those with a greater or an equal score. matlab: greater, or
    equal and at a lower gallery index (a stable sort). A query that is itself in the gallery is never its own match. (In the
    scripts it is the last of the finite scores, and a hit where K reaches it; no recorded count depends on that.)
    clear, close: those with a score greater by more than NEAR, and those with a score not less by more: between them lies
    what rounding may make of the query (`ports.metrics.near`).
    """

    above: Tensor
    at_least: Tensor
    matlab: Tensor
    clear: Tensor
    close: Tensor


class Rows:
    """Feature rows of an array, a tensor or a memory map, by label, normalised block by block on the device."""

    def __init__(
        self, source: Any, order: NDArray[Any], *, normalize: bool, device: torch.device, cache: int, name: str
    ) -> None:
        self.source, self.order, self.normalize, self.device, self.name = source, order, normalize, device, name
        self.dtype = torch.float64 if str(source.dtype).endswith("float64") else torch.float32
        self.zero = np.zeros(len(order), dtype=bool)  # filled as blocks are read
        size = len(order) * source.shape[1] * (8 if self.dtype == torch.float64 else 4)
        self._cached: Tensor | None = None
        if size <= cache:
            self._cached = torch.zeros(
                -(-len(order) // _TILE) * _TILE, source.shape[1], dtype=self.dtype, device=device
            )
            for start in range(0, len(order), 8192):
                part = self._read(start, min(start + 8192, len(order)))
                self._cached[start : start + len(part)] = part

    def _read(self, start: int, stop: int) -> Tensor:
        rows = self.order[start:stop]
        if isinstance(self.source, Tensor):
            part = self.source[torch.as_tensor(rows, device=self.source.device)].detach()
        else:
            part = torch.from_numpy(np.ascontiguousarray(self.source[rows]))
        part = part.to(self.device, self.dtype)
        squares = part.square().sum(1, keepdim=True)
        if not torch.isfinite(squares).all():
            check_rows(self.source, self.name)  # counts them all
            raise ValueError(f"{self.name}: a row is too large to be squared on {self.device}")
        if not self.normalize:
            return part
        # The test scripts divide by the root of the sum of squares in single precision, with no epsilon. A zero row
        # would be NaN; it is left at zero here and its scores are set apart by the search.
        self.zero[start:stop] = (squares.view(-1) == 0).cpu().numpy()
        return part / torch.where(squares == 0, torch.ones_like(squares), squares.sqrt())

    def block(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) in the order of the labels; zero rows fill the last block to a multiple of the tile."""
        padded = start + -(-(stop - start) // _TILE) * _TILE
        if self._cached is not None:
            return self._cached[start:padded]
        part = self._read(start, stop)
        return part if padded == stop else torch.nn.functional.pad(part, (0, 0, 0, padded - stop))

    @property
    def resident(self) -> bool:
        return self._cached is not None


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 or bfloat16 inside products of float32: short mantissas make ties of neighbours."""
    matmul = torch.backends.cuda.matmul
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:  # set through torch's newer switch, which the older one refuses to read
        old = None
    newer = getattr(matmul, "fp32_precision", None)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if old is not None:
            torch.set_float32_matmul_precision(old)
        elif newer is not None:
            matmul.fp32_precision = newer


def _blocks(n: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, n)) for start in range(0, n, size))


class _Search:
    def __init__(
        self, queries: Rows, gallery: Rows, labels: NDArray[Any], gallery_labels: NDArray[Any], own: NDArray[Any]
    ):
        self.queries, self.gallery = queries, gallery
        device = gallery.device
        cuda = device.type == "cuda"
        self.n, self.m = len(labels), len(gallery_labels)
        # A block of queries is as tall as its matches allow: rows x (columns that hold a match) stays bounded.
        self.rows, self.columns = _CUDA_BLOCK if cuda else _CPU_BLOCK
        self.first = np.searchsorted(gallery_labels, labels, "left")
        self.last = np.searchsorted(gallery_labels, labels, "right")
        while self.rows > _TILE and self._widest() * self.rows > (4 * _HELD if cuda else _HELD):
            self.rows //= 2
        self.first_column, self.last_column = (torch.as_tensor(x, device=device) for x in (self.first, self.last))
        self.index = torch.as_tensor(gallery.order, device=device)  # place of each sorted gallery row in the input
        self.own = torch.as_tensor(own, device=device)  # sorted gallery column of the query itself, -1: none
        self.best = torch.full((self.n, 1), torch.inf, dtype=gallery.dtype, device=device)
        self.where = torch.full((self.n, 1), NEVER, device=device)  # input index of the best match; lowest of ties
        # Negatives: clearly ahead; not clearly behind; ahead though not clearly; equal; equal and earlier in the gallery.
        self.clear, self.close, self.slightly, self.equal, self.tied = (
            torch.zeros(self.n, dtype=torch.int64, device=device) for _ in range(5)
        )
        shape = (-(-self.rows // _TILE) * _TILE, -(-self.columns // _TILE) * _TILE)
        self._scores, self._mask = (torch.empty(shape, dtype=gallery.dtype, device=device) for _ in range(2))

    def _span(self, start: int, stop: int) -> range:
        """Gallery blocks with a match of queries [start, stop)."""
        low, high = int(self.first[start]), int(self.last[stop - 1])
        return range(low // self.columns, -(-high // self.columns)) if high > low else range(0)

    def _widest(self) -> int:
        return max(len(self._span(a, b)) for a, b in _blocks(self.n, self.rows)) * self.columns

    def _product(self, q: Tensor, a: int, b: int, g: Tensor, block: int) -> Tensor:
        """Scores of queries [a, b) in a gallery block, in a buffer that the next call overwrites."""
        left, right = block * self.columns, min((block + 1) * self.columns, self.m)
        scores = torch.mm(q, g.t(), out=self._scores[: len(q), : len(g)])[: b - a, : right - left]
        zero = self.gallery.zero[left:right]
        if zero.any():  # their scores are NaN in the scripts, and NaN sorts last
            scores[:, torch.as_tensor(zero, device=scores.device)] = -torch.inf
        return scores

    def _gallery_block(self, block: int) -> Tensor:
        return self.gallery.block(block * self.columns, min((block + 1) * self.columns, self.m))

    def _count(
        self, scores: Tensor, a: int, b: int, left: int, mask: Tensor, matches: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Adds counts of columns from `left` on to queries [a, b). Overwrites `mask`.

        matches: per query, among these columns, the matches not behind the best by more than NEAR and those equal to it, which
        are not negatives.
        """
        best = self.best[a:b]
        # Two comparisons tell how many are clearly ahead and how many are close, and these are one number for most queries: then
        # it is the exact count too. The few others are compared again. Comparisons into the scores' own type run several
        # times faster than into bool; sums of ones stay exact (there are fewer columns than 2^24).
        close = torch.ge(scores, best - NEAR, out=mask).sum(1).to(torch.int64)
        clear = torch.gt(scores, best + NEAR, out=mask).sum(1).to(torch.int64)
        if matches is not None:
            close -= matches[0]
        self.close[a:b] += close
        self.clear[a:b] += clear
        unsure = (close > clear).nonzero().view(-1)
        for rows in unsure.split(_AGAIN) if len(unsure) else ():
            some, limit, queries = scores[rows], best[rows], a + rows
            at_least, above = some >= limit, some > limit
            tied = at_least.sum(1) - above.sum(1)
            if matches is not None:
                tied -= matches[1][rows]
            self.slightly[queries] += above.sum(1) - clear[rows]
            self.equal[queries] += tied
            # No match is counted: the best match by index is not earlier than itself.
            earlier = self.index[left : left + scores.shape[1]] < self.where[queries]
            self.tied[queries] += (at_least & ~above & earlier).sum(1)

    def near(self, q: Tensor, a: int, b: int) -> None:
        """Best matches of queries [a, b), and the counts in the blocks that had to be computed for them."""
        span = self._span(a, b)
        if not len(span):
            return
        left, right = span.start * self.columns, min(span.stop * self.columns, self.m)
        scores = torch.empty(b - a, right - left, dtype=q.dtype, device=q.device)
        for block, part in zip(span, scores.split(self.columns, dim=1)):
            part.copy_(self._product(q, a, b, self._gallery_block(block), block))
        own = (self.own[a:b] - left)[:, None]
        inside = self.own[a:b] >= 0
        scores[inside.nonzero().view(-1), own[inside].view(-1)] = torch.nan  # no comparison counts the query itself

        # The matches of a query stand side by side.
        first, last = self.first_column[a:b, None] - left, self.last_column[a:b, None] - left
        place = first + torch.arange(max(int((last - first).max()), 1), device=q.device)
        valid = (place < last) & (place != own)
        place = place.clamp(max=right - left - 1)
        matches = scores.gather(1, place).masked_fill(~valid, -torch.inf)
        best = matches.amax(1, keepdim=True)
        equal = valid & (matches == best)
        self.where[a:b] = self.index[left + place].masked_fill(~equal, NEVER).amin(1, keepdim=True)
        # A query without a match: a threshold that no score passes.
        self.best[a:b] = best.masked_fill(~valid.any(1, keepdim=True), torch.inf)
        close = valid & (matches >= best - NEAR)
        self._count(scores, a, b, left, torch.empty_like(scores), (close.sum(1), equal.sum(1)))

    def far(self, q: Tensor, a: int, b: int, g: Tensor, block: int) -> None:
        """The counts of queries [a, b) in a gallery block that holds no match of theirs."""
        scores = self._product(q, a, b, g, block)
        self._count(scores, a, b, block * self.columns, self._mask[: scores.shape[0], : scores.shape[1]])

    def run(self, group: int) -> None:
        """Every block once. Queries are normalised `group` rows at a time, the gallery is read twice for each group."""
        group = max(group // self.rows, 1) * self.rows
        for low, high in _blocks(self.n, group):
            parts = [(low + a, low + b) for a, b in _blocks(high - low, self.rows)]
            blocks = [self.queries.block(a, b) for a, b in parts]
            for q, (a, b) in zip(blocks, parts):
                self.near(q, a, b)
            spans = [self._span(a, b) for a, b in parts]
            for block in range(-(-self.m // self.columns)):
                if all(block in span for span in spans):
                    continue
                g = self._gallery_block(block)
                for q, (a, b), span in zip(blocks, parts, spans):
                    if block not in span:
                        self.far(q, a, b, g, block)


def items_ahead(
    queries: Any,
    labels: NDArray[Any],
    gallery: Any,
    gallery_labels: NDArray[Any],
    own: NDArray[Any] | None,
    *,
    normalize: bool,
    device: torch.device,
    cache: int,
) -> Ahead:
    """Negatives ahead of each query's best match, by the inner product of (normalised) rows.

    queries (Q, D), gallery (M, D): arrays, tensors or memory maps. labels (Q,), gallery_labels (M,): int64 codes.
    own (Q,): the gallery row that is the query itself, or None. cache: bytes of normalised gallery to keep.
    """
    order, gallery_order = np.argsort(labels, kind="stable"), np.argsort(gallery_labels, kind="stable")
    place = np.empty(len(gallery_order), dtype=np.int64)
    place[gallery_order] = np.arange(len(gallery_order))
    own_sorted = np.full(len(order), -1, dtype=np.int64) if own is None else place[own[order]]
    name = "embeddings" if own is not None else "gallery"
    gallery_rows = Rows(gallery, gallery_order, normalize=normalize, device=device, cache=cache, name=name)
    whole = own is not None and len(order) == len(gallery_order) and np.array_equal(own[order], gallery_order)
    if whole and gallery_rows.resident:
        query_rows = gallery_rows
    else:
        source = queries if own is None else gallery
        rows = order if own is None else own[order]
        query_rows = Rows(source, rows, normalize=normalize, device=device, cache=0, name="embeddings")
    if query_rows.dtype != gallery_rows.dtype:
        raise ValueError(f"embeddings are {query_rows.dtype}, gallery is {gallery_rows.dtype}: give both the same type")
    search = _Search(query_rows, gallery_rows, labels[order], gallery_labels[gallery_order], own_sorted)
    search.run(max(2**28 // (4 * gallery.shape[1]), 1))

    none = search.where.view(-1) == NEVER
    above = search.clear + search.slightly
    counts = {"clear": search.clear, "close": search.close, "above": above}
    counts |= {"at_least": above + search.equal, "matlab": above + search.tied}
    zero = torch.as_tensor(query_rows.zero, device=device)
    if zero.any():
        # All scores are NaN: every item ties with every other one.
        matches = torch.as_tensor(search.last - search.first, device=device) - (search.own >= 0).to(torch.int64)
        others = search.m - (search.own >= 0).to(torch.int64)
        # The first match by index, less the query itself where that comes before it.
        column = torch.as_tensor(search.first, device=device)
        column = column + (search.own == column).to(torch.int64)
        first = search.index[column.clamp(max=search.m - 1)]
        itself = search.index[search.own.clamp(min=0)]
        first = first - ((search.own >= 0) & (itself < first)).to(torch.int64)
        tied: dict[str, Any] = {
            "above": 0,
            "clear": 0,
            "at_least": others - matches,
            "close": others - matches,
            "matlab": first,
        }
        counts = {name: torch.where(zero, tied[name], values) for name, values in counts.items()}
    back = torch.empty_like(search.clear)
    back[torch.as_tensor(order, device=device)] = torch.arange(len(order), device=device)
    return Ahead(**{name: values.masked_fill(none, NEVER)[back].cpu() for name, values in counts.items()})
