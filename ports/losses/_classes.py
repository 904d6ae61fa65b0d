"""Labels that index something: proxies of a class, a boundary of a class."""

from __future__ import annotations

import torch
from torch import Tensor


def check_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Class indices as int64; ValueError that quotes the range outside 0..num_classes - 1 or a fraction.

    This looks at values (a device synchronisation), because an index out of range would otherwise be a silent wrong
    loss or, on CUDA, an assertion that ends the process. Under torch.compile the check is left out.
    """
    if torch.compiler.is_compiling() or not len(labels):
        return labels.long()
    if labels.is_floating_point() and bool((labels != labels.round()).any()):
        raise ValueError(f"labels must be class indices, but one is {labels[labels != labels.round()][0].item()}")
    low, high = (int(end) for end in torch.stack(torch.aminmax(labels)).tolist())  # one wait for both
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels run from {low} to {high}, but num_classes={num_classes} allows 0..{num_classes - 1}")
    return labels.long()
