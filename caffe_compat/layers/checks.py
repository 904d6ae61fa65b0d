"""What Caffe refuses about a layer: numbers of bottoms and tops, blobs too large, labels that are no class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from torch import Tensor

from ports.losses._inputs import check_classes

#: Caffe's blobs count their values in a C int (Blob::Reshape refuses more).
MAX_COUNT = 2**31 - 1


class Counts(NamedTuple):
    """How many bottoms and tops a layer takes: ExactNum, Min and Max of Caffe's headers.

    bottoms, tops: (least, most); most None is without limit. `equal`: one top for each bottom.
    """

    bottoms: tuple[int, int | None] = (1, 1)
    tops: tuple[int, int | None] = (1, 1)
    equal: bool = False

    def check(self, bottoms: int, tops: int) -> None:
        """Raise ValueError with the rule that these numbers break."""
        for what, count, (least, most) in (("bottom", bottoms, self.bottoms), ("top", tops, self.tops)):
            if count < least or (most is not None and count > most):
                rule = (
                    f"exactly {least}"
                    if least == most
                    else f"at least {least}"
                    if most is None
                    else f"{least} to {most}"
                )
                plural = "" if (least if most is None else most) == 1 else "s"
                raise ValueError(f"takes {rule} {what}{plural}, {count} given")
        if self.equal and bottoms != tops:
            raise ValueError(f"makes one top for each bottom, {tops} tops for {bottoms} bottoms given")


def check_size(shape: Sequence[int], what: str) -> None:
    """Raise ValueError for a shape that no blob of Caffe can have; nothing is allocated before."""
    if any(n < 0 for n in shape):
        raise ValueError(f"{what} would have shape {tuple(shape)}: a negative size")
    if prod(shape) > MAX_COUNT:
        raise ValueError(
            f"{what} would have shape {tuple(shape)}: {prod(shape):,} values; a blob of Caffe has at most {MAX_COUNT:,}"
        )


def check_memory(values: int, what: str) -> None:
    """Raise ValueError for more float32 `values` than this machine has memory; before any is asked for."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 4 * values > memory:
        raise ValueError(
            f"{what} would hold {values:,} values, {4 * values / 1e9:.1f} GB; this machine has {memory / 1e9:.1f} GB"
        )


def check_class_labels(layer: object, labels: Tensor, classes: int, ignore: int | None = None) -> None:
    """Raise ValueError with the layer's name for a label outside 0..classes-1 that is not `ignore`.

    Caffe asks this in debug builds only (DCHECK); a release build reads memory beside the row.
    """
    try:
        check_classes(labels, classes, ignore)
    except ValueError as error:
        raise ValueError(f"{layer}: {error}") from None
