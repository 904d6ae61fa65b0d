"""Losses that are a sum over anchors, differentiated a block of anchors at a time.

An anchor's term needs its own row of similarities (or distances) only. So the derivative by a block of rows is known as soon
as the block's terms are, and takes the rows' own place: one (N, M) matrix is all that a step keeps, and what the terms need
between is of the size of a block. autograd over whole matrices keeps one for every operation instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ports.losses._released import released


def row_blocks(rows: int, columns: int, device: torch.device, pairs: int = 2**13) -> Iterator[tuple[int, int]]:
    """(start, stop) of blocks of rows: on a CPU few enough for its caches (`pairs`), on a GPU enough to keep it busy."""
    if columns == 0:
        return
    least, pairs = (32, pairs) if device.type == "cpu" else (256, 2**18)
    size = max(least, pairs // columns)
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def sum_of_rows(matrix: Tensor, term: Callable[..., Tensor], *masks: Tensor, pairs: int | None = None) -> Tensor:
    """Sum over the rows of `term(rows (B, M), *rows of the masks) -> (B,)`; the masks are (N, M) and not differentiated.

    `matrix` (N, M) is OVERWRITTEN with the derivative: it must not be used again, nor be what its own backward needs (the
    matrices of `ports.losses._gram` are not). The result has a gradient, but no second derivative. `pairs`: of a block, on
    a CPU, for terms that sort or keep many buffers; the others get a tenth of the matrix, whose buffers fit beside it into
    two matrices.
    """
    if matrix.numel() == 0:
        return matrix.sum()
    # The compiler plans its memory itself, and cannot look into the gradient of a block.
    if torch.compiler.is_compiling():
        return term(matrix, *masks).sum()
    values = matrix.detach()
    wanted = torch.is_grad_enabled() and matrix.requires_grad
    terms = []
    for start, stop in row_blocks(
        len(matrix), matrix.shape[1], matrix.device, pairs or max(2**14, matrix.numel() // 10)
    ):
        rows = values[start:stop].detach().requires_grad_(wanted)
        each = term(rows, *(mask[start:stop] for mask in masks))
        terms.append(each.detach())
        if wanted:
            values[start:stop] = torch.autograd.grad(each.sum(), rows)[0]
    total = torch.cat(terms).sum()
    return released(matrix, total, values) if wanted else total


@torch.no_grad()
def each_row(matrix: Tensor, function: Callable[..., Tensor], *masks: Tensor) -> Tensor:
    """(N,) values of `function(rows (B, M), *rows of the masks) -> (B,)`, constants to autograd; `matrix` stays."""
    if torch.compiler.is_compiling():
        return function(matrix, *masks)
    blocks = row_blocks(len(matrix), matrix.shape[1], matrix.device)
    return torch.cat([function(matrix[i:j], *(mask[i:j] for mask in masks)) for i, j in blocks])
