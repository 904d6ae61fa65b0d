"""A call of somebody else's loss: at most so many seconds, nothing of it on our stdout, and told to a watching process.

A limit needs a signal, so it holds in the main thread of a POSIX system. What no signal interrupts (a lock in native code), and what
ends the process, `golden.supervised` deals with: it reads from a journal which call was the last.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Any

SECONDS = 60.0  # of one call; the largest batch of any set takes a loss less than one
JOURNAL, LOST = "DML_GOLDEN_JOURNAL", "DML_GOLDEN_LOST"  # environment variables of a supervised process


class Fatal(BaseException):
    """The loss must not be called again. A BaseException: a loss that catches Exception does not swallow it."""


@dataclass
class _State:
    calls: int = 0
    seconds: float = SECONDS


_STATE = _State()


def set_limit(seconds: float) -> None:
    """For every call from now on. ValueError unless it is positive."""
    if not seconds > 0:
        raise ValueError(f"a limit is positive, got {seconds!r} s")
    _STATE.seconds = seconds


@contextmanager
def watched() -> Iterator[None]:
    """Around one call of a loss. Fatal where it takes too long, or where this very call ended an earlier process."""
    _STATE.calls += 1
    number = _STATE.calls
    lost = json.loads(os.environ.get(LOST, "{}"))
    if lost.get("call") == number:
        raise Fatal(lost["reason"])
    write(f"call {number} {_STATE.seconds}")
    try:
        with redirect_stdout(sys.stderr), _limited(_STATE.seconds):
            yield
    finally:
        write("returned")


def write(line: str) -> None:
    """A line for the process that watches this one, if one does."""
    if journal := os.environ.get(JOURNAL):
        with open(journal, "a", encoding="utf-8") as file:
            file.write(line + "\n")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    with _alarm(seconds) if usable else nullcontext():
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    before, _ = signal.getitimer(signal.ITIMER_REAL)
    if 0 < before <= seconds:  # somebody's own limit rings first
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise Fatal(f"took longer than {seconds:g} s")

    handler, start = signal.signal(signal.SIGALRM, ring), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before > 0:
            signal.setitimer(signal.ITIMER_REAL, max(before - (time.monotonic() - start), 1e-3))
