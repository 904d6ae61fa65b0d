"""How busy the machine was with other things while a benchmark ran."""

from __future__ import annotations

import os
from pathlib import Path

MOST = 0.05  # of all processors' time: more, and a row is not recorded


class OtherWork:
    """`share()`: of the processors' time since this was made, the part that went neither to this process (its children,
    once they have ended, included) nor to idling; None where the system does not say (no /proc/stat).
    """

    def __init__(self) -> None:
        self._busy, self._all = _machine()
        self._own = sum(os.times()[:4])

    def share(self) -> float | None:
        busy, total = _machine()
        if total <= self._all:
            return None
        others = (busy - self._busy) - (sum(os.times()[:4]) - self._own)
        return max(0.0, others / (total - self._all))


def _machine() -> tuple[float, float]:
    """Seconds of all processors together since the start: busy, and in all. (0, 0) where nobody counts them."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return 0.0, 0.0
    user, nice, system, idle, waiting, *more = (int(word) / os.sysconf("SC_CLK_TCK") for word in line.split()[1:9])
    busy = user + nice + system + sum(more)
    return busy, busy + idle + waiting
