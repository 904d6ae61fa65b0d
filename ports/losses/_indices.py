"""A miner's pairs and triplets: index tensors as pytorch-metric-learning's users pass them, checked, and as masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def check_indices(loss: object, indices: Any, sizes: dict[str, int], device: torch.device) -> list[Tensor]:
    """The parts of an `indices_tuple` as int64 on `device`; `sizes`: part -> how many rows it may point at, in order.

    Raises TypeError for a part that is no tensor of integers, ValueError for another shape and for an index out of range.
    """
    parts, what = [], f"{type(loss).__name__}: indices_tuple"
    for part, name in zip(indices, sizes):
        if not isinstance(part, Tensor) or part.is_floating_point() or part.is_complex() or part.dtype == torch.bool:
            got = part.dtype if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"{what}: {name} must be a torch.Tensor of integers, got {got}")
        if part.dim() != 1:
            raise ValueError(f"{what}: {name} must have shape (T,), got {tuple(part.shape)}")
        parts.append(part.to(device=device, dtype=torch.int64))
    filled = [(name, part) for name, part in zip(sizes, parts) if part.numel()]
    if filled and not torch.compiler.is_compiling():
        ends = torch.stack([end for _, part in filled for end in torch.aminmax(part)]).tolist()  # one wait for all
        for (name, _), low, high in zip(filled, ends[::2], ends[1::2]):
            if low < 0 or high >= sizes[name]:
                raise ValueError(f"{what}: {name} run from {low} to {high}, but there are rows 0..{sizes[name] - 1}")
    return parts


def same_length(loss: object, *parts: Tensor) -> tuple[Tensor, ...]:
    """`parts`; ValueError where they are not as long as each other."""
    if len({len(part) for part in parts}) > 1:
        lengths = ", ".join(str(len(part)) for part in parts)
        raise ValueError(f"{type(loss).__name__}: indices_tuple: parts that belong together have lengths {lengths}")
    return parts


def pair_mask(anchors: Tensor, partners: Tensor, rows: int, columns: int) -> Tensor:
    """(rows, columns) bool with True at every (anchor, partner); `isin` sorts, so repeated pairs are no race."""
    cells = torch.arange(rows * columns, device=anchors.device)
    return torch.isin(cells, anchors * columns + partners).view(rows, columns)


def pair_indices(loss: object, indices: Any, rows: int, columns: int, device: torch.device) -> list[Tensor]:
    """[anchors, positives, anchors, negatives] of a miner's pairs or triplets."""
    if not isinstance(indices, tuple | list) or len(indices) not in (3, 4):
        got = f"{len(indices)} parts" if isinstance(indices, tuple | list) else type(indices).__name__
        raise ValueError(
            f"indices_tuple must be (anchors, positives, anchors, negatives) or (anchors, positives, negatives), got {got}"
        )
    if len(indices) == 3:
        a1, p, n = check_indices(loss, indices, {"anchors": rows, "positives": columns, "negatives": columns}, device)
        a2 = a1
    else:
        sizes = {"anchors": rows, "positives": columns, "anchors of negatives": rows, "negatives": columns}
        a1, p, a2, n = check_indices(loss, indices, sizes, device)
    return [*same_length(loss, a1, p), *same_length(loss, a2, n)]
