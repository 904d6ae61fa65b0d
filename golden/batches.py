"""What is special about a batch: the kinds of input on which losses part that agree on ordinary ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cases import Case

_UNIT = 1e-3  # recorded unit rows are off by float32's 6e-8; rows of other lengths by tenths


def kinds(case: Case) -> frozenset[str]:
    """Names of what is special, in words; empty for an ordinary batch of unit rows with two samples or more in each class."""
    found = set()
    rows = next((a.array for a in case.arguments if a.differentiable and a.array.ndim == 2), None)
    labels = next((a.array for a in case.arguments if a.name == "labels"), None)
    if rows is not None and case.arguments[0].name == "embeddings":
        if len(np.unique(rows, axis=0)) < len(rows):
            found.add("duplicates")
        if np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1).max(initial=0) > _UNIT:
            found.add("rows that are not unit vectors")
    if rows is not None and rows.shape[0] <= 4:
        found.add("batches of four samples or fewer")
    if labels is not None:
        count = np.unique(labels, return_counts=True)[1]
        if len(count) == 1:
            found.add("one class only")
        elif (count == 1).all():
            found.add("no positives")
        elif (count == 1).any():
            found.add("a class with one sample")
        elif len(set(count)) > 1:
            found.add("classes of unequal sizes")
    for argument in case.arguments:
        if argument.name == "weights" and (np.abs(argument.array).sum(-1) == 0).any():
            found.add("a proxy of zeros")
        if argument.name == "scores" and len(np.unique(argument.array)) == 1:
            found.add("equal scores")
    return frozenset(found)


def special(failing: Sequence[Case], passing: Sequence[Case], *, ignored: str = "") -> list[str]:
    """Kinds that explain which cases fail: each failing case has one that no passing case has. Empty where none do."""
    never = frozenset({ignored}).union(*(kinds(case) for case in passing))
    own = [kinds(case) - never for case in failing]
    if not passing or not all(own):
        return []
    counts = {kind: sum(kind in some for some in own) for kind in frozenset().union(*own)}
    chosen: list[str] = []
    for some in own:  # of several kinds of one case the one that most cases share
        if not some & set(chosen):
            chosen.append(max(sorted(some), key=lambda kind: counts[kind]))
    return chosen
