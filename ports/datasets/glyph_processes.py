"""Draws many pictures of the letters in two processes: this one and a child that it hands pictures to.

The child is a plain command with two pipes, so that a caller's script is not run again in it (as `multiprocessing` does) and nothing
that this process has open is in it. It ends with its input, however this process ended; where it ends before its time, this process
draws what it had.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

from ports.datasets.glyph_drawing import Drawer, name_of

_TOGETHER = 128  # pictures that are handed out at once: about 0.1 s of work
_WORTH_IT = 1000  # pictures; below, the child's start takes longer than it saves
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from ports.datasets.glyph_processes import serve; serve(sys.argv[2])"


def draw_all(folder: Path, paths: Sequence[str], told: Callable[[int], object]) -> dict[str, bytes]:
    """Write the pictures of these paths below `folder`; the digest of each. `told` is called with how many have been drawn since.

    Raises OSError where one cannot be written.
    """
    left = deque(_pieces(paths))
    digests: dict[str, bytes] = {}

    def draw_here(drawer: Drawer) -> None:
        while left:
            with contextlib.suppress(IndexError):  # taken by the child meanwhile
                piece = left.popleft()
                digests.update(zip(piece, drawer.draw(piece)))
                told(len(piece))

    with Drawer(folder) as drawer:
        if len(paths) >= _WORTH_IT and _cores() > 1:
            with _helped(folder, left, digests, told):
                draw_here(drawer)
        draw_here(drawer)  # what a child that failed has put back
    return digests


def _pieces(paths: Sequence[str]) -> Iterator[list[str]]:
    """By face, as open fonts are a face's."""
    by_face: dict[str, list[str]] = {}
    for path in paths:
        by_face.setdefault(name_of(path)[1], []).append(path)
    for same in by_face.values():
        yield from (same[i : i + _TOGETHER] for i in range(0, len(same), _TOGETHER))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _helped(
    folder: Path, left: deque[list[str]], digests: dict[str, bytes], told: Callable[[int], object]
) -> Iterator[None]:
    """A child draws from the other end while the block runs; what it does last is waited for, unless the block raised."""
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), str(folder)]
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,  # the terminal's Ctrl-C is this process's to handle
        )  # fmt: skip
    except OSError:  # no room for another process: all is drawn here
        yield
        return
    feeder = Thread(target=_feed, args=(child, left, digests, told), daemon=True)
    feeder.start()
    try:
        yield
        feeder.join()
    finally:
        child.kill()
        child.wait()
        feeder.join()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _feed(
    child: subprocess.Popen[str], left: deque[list[str]], digests: dict[str, bytes], told: Callable[[int], object]
) -> None:
    """Hand the child one piece after the other; a piece that it does not finish goes back."""
    assert child.stdin is not None and child.stdout is not None
    while True:
        try:
            piece = left.pop()
        except IndexError:
            return
        try:
            print(json.dumps(piece), file=child.stdin, flush=True)
            drawn = [bytes.fromhex(text) for text in json.loads(child.stdout.readline())]
        except (OSError, ValueError):  # it has ended
            drawn = []
        if len(drawn) != len(piece):
            left.append(piece)
            return
        digests.update(zip(piece, drawn))
        told(len(piece))


def serve(folder: str) -> None:
    """The child: lines of paths in, lines of their digests out."""
    with Drawer(Path(folder)) as drawer:
        for line in sys.stdin:
            print(json.dumps([digest.hex() for digest in drawer.draw(json.loads(line))]), flush=True)
