"""Times of two programs that took turns, as a row of the results."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch


def paired(ours: Sequence[float], peer: Sequence[float]) -> dict[str, Any]:
    """ "ours", "peer": medians; "ratio": the median of ours / peer over the turns, each of which had both; "spread": its least
    and largest, and of how many turns.
    """
    ratios = [own / theirs for own, theirs in zip(ours, peer, strict=True)]
    return {
        "ours": statistics.median(ours),
        "peer": statistics.median(peer),
        "ratio": statistics.median(ratios),
        "spread": f"{min(ratios):.2f}-{max(ratios):.2f} of {len(ratios)}",
    }


def now() -> float:
    """Seconds: of this process's processor time with one thread, which what else runs hardly disturbs; else of the wall clock."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
