"""How far something has come: a bar on a terminal; elsewhere lines on stderr, at most one in ten seconds, never a carriage return."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

EVERY = 10.0  # seconds


class Lines:
    """What `bar` gives where nobody looks on: the part of tqdm that is used, as lines."""

    def __init__(self, total: int | None, initial: int, what: str, unit: str) -> None:
        self.total, self.n, self.what, self.unit = total, initial, what, unit
        self._last = time.monotonic()
        self._started = self._last

    def update(self, count: int = 1) -> None:
        self.n += count
        now = time.monotonic()
        if now - self._last >= EVERY and self.n != self.total:
            self._last = now
            print(self.line(now - self._started), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        return f"{self.what}: {self.n:,}{of} {self.unit} after {minutes(seconds)}"

    def close(self) -> None:
        """Nothing is left to be put away."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def bar(total: int | None, what: str, unit: str, *, initial: int = 0, wanted: bool = True, **options: Any) -> Any:
    """A context manager with `update(count)`; options: tqdm's."""
    if wanted and not sys.stderr.isatty():
        return Lines(total, initial, what, unit)
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, desc=what, unit=unit, disable=not wanted, **options)


def minutes(seconds: float) -> str:
    """A time as people say it: 8 s, 4.5 min, 3.2 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
