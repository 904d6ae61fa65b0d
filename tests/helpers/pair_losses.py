"""Pair losses for the tests that go over all of them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from ports import losses
from ports.losses._pair_loss import PairLoss


def not_among(listed: Iterable[nn.Module]) -> dict[str, type[PairLoss]]:
    """Class name -> class of every pair loss of `ports` that is of no listed kind: a new one is taken up without a line here."""
    kinds = [getattr(losses, name) for name in losses.__all__]
    there = {type(loss) for loss in listed}
    return {
        kind.__name__: kind
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, PairLoss) and kind not in there
    }
