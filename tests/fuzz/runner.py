"""Reads each mutant in a process of its own, under a limit of memory and time, and counts how it ended."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.formats import Format
from tests.fuzz.mutate import mutant

#: What a reader may take beyond ten times the file, and how long: a file of a few kB has no business with more.
MEMORY, SECONDS = 100 << 20, 2
#: The address space also holds thread stacks and what imports map, which is no memory of the reader's.
SLACK = 64 << 20
#: Mutants to a process: one that ends its process takes no other with it.
BATCH = 25


@dataclass
class Outcome:
    """How the mutants of one format ended.

    counts: "read", "refused" (a documented error) or what should not be: "undocumented", "memory", "time", "crash".
    kinds: text of what should not be -> how often. examples: the file of the first of each.
    """

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Path] = field(default_factory=dict)
    slowest: float = 0.0

    @property
    def bad(self) -> int:
        return sum(self.counts[kind] for kind in ("undocumented", "memory", "time", "crash"))


def fuzz(chosen: Format, count: int, keep: Path | None = None, first: int = 0) -> Outcome:
    """Mutants `first` to `first + count` of a format; those that end badly are kept in `keep`."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seeds = chosen.seeds(folder)
        # Imports and caches count as "before"; and a seed that its own reader refuses would test nothing.
        for seed in seeds:
            chosen.read(seed, folder)
        result = Outcome(chosen.name)
        left = list(range(first, first + count))
        while left:
            for number, ended, kind, seconds in _in_a_process(chosen, seeds, left[:BATCH], folder):
                left.remove(number)
                result.counts[ended] += 1
                result.slowest = max(result.slowest, seconds)
                if ended in ("read", "refused"):
                    continue
                text = f"{ended}: {kind}"
                result.kinds[text] += 1
                if keep is not None and text not in result.examples:
                    keep.mkdir(parents=True, exist_ok=True)
                    result.examples[text] = path = keep / f"{chosen.name}-{number}"
                    path.write_bytes(_mutant(chosen, seeds, number))
    return result


def _mutant(chosen: Format, seeds: list[bytes], number: int) -> bytes:
    return mutant(seeds, random.Random(f"{chosen.name}:{number}"))


def _in_a_process(
    chosen: Format, seeds: list[bytes], numbers: list[int], folder: Path
) -> Iterator[tuple[int, str, str, float]]:
    """(mutant, how it ended, what kind, seconds of the processor) until all are read or one ends the process."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        try:
            for number in numbers:
                ended, kind, seconds = _read_limited(chosen, _mutant(chosen, seeds, number), folder)
                os.write(send, f"{number}\t{ended}\t{kind}\t{seconds:.3f}\n".encode("utf-8", "replace"))
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, encoding="utf-8", errors="replace") as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    for line in lines:
        number, ended, kind, seconds = line.split("\t")
        yield int(number), ended, kind, float(seconds)
    if len(lines) == len(numbers):
        return
    fatal = numbers[len(lines)]
    name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit code {status >> 8}"
    if name in ("SIGPROF", "SIGALRM"):
        yield fatal, "time", f"over {SECONDS} s", float(SECONDS)
    else:
        yield fatal, "crash", name, 0.0


def _read_limited(chosen: Format, content: bytes, folder: Path) -> tuple[str, str, float]:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = held + 10 * len(content) + MEMORY + SLACK
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    start = time.process_time()
    # Seconds of the processor: another program on the machine is not the reader's fault. The alarm is for what waits.
    # Neither has a handler: the signal ends the process, whatever the reader's C code is doing.
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(30 * SECONDS)
    try:
        chosen.read(content, folder)
        ended, kind = "read", ""
    except chosen.errors as error:
        ended, kind = "refused", ""
        if not chosen.names(error, folder):
            ended, kind = "undocumented", f"{type(error).__name__} without the file's name"
    except MemoryError:
        ended, kind = "memory", "MemoryError"
    except BaseException as error:
        ended, kind = "undocumented", type(error).__name__
        if os.environ.get("FUZZ_DEBUG"):
            with open(os.environ["FUZZ_DEBUG"], "a", encoding="utf-8") as file:
                file.write(f"--- {chosen.name}\n{traceback.format_exc()[-1500:]}\n")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return ended, kind, time.process_time() - start


def main_supported() -> bool:
    return sys.platform.startswith("linux")
