"""One run, one writer: run.lock in a run's folder says which process writes there, as long as it does.

A process that was killed leaves its lock. It holds nothing: the process is gone, or its number belongs to another one, which
was started at another time. Of a process on another machine (or in another container) nothing can be seen from here; its lock
holds until somebody removes it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paper_recipes.runner.files import read_json, write_json
from ports.locks import alone

FILE = "run.lock"
_UNKNOWN = "unknown"  # when a process began
DEAD = "ended without a word: its process was killed, or the machine went down"


class LockedError(ValueError):
    """Another process writes into that run: which, and what to do."""


@dataclass(frozen=True)
class Holder:
    """pid on host, in the system's start `boot` and the namespace `processes`; `born`: when that process began."""

    pid: int
    host: str
    boot: str
    processes: str
    born: str
    since: str

    @property
    def here(self) -> bool:
        """Whether its process would be seen from here."""
        ours = _place()
        return self.host == ours["host"] and (self.boot != ours["boot"] or self.processes == ours["processes"])

    @property
    def alive(self) -> bool:
        """As far as can be seen: true for a process elsewhere."""
        return not self.here or (self.boot == _boot() and self.born == _born(self.pid) != "")

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


def holder(out: Path) -> Holder | None:
    """Who writes into the run `out` now; None: nobody. Raises LockedError for a lock that is none of ours."""
    try:
        fields = read_json(out / FILE)
        found = None if fields is None else Holder(**fields)
        if found is not None and type(found.pid) is not int:
            raise TypeError(f"pid {found.pid!r}")
    except (ValueError, TypeError) as error:
        raise LockedError(f"{out / FILE}: not a lock of this program ({error}); remove it if no run goes on") from None
    return found if found is not None and found.alive else None


def status(out: Path, record: dict[str, Any]) -> Any:
    """What run.json says of the run, and where that is "running", whether it still is."""
    said = record.get("status")
    if said != "running":
        return said
    try:
        who = holder(out)
    except LockedError:
        return said
    return DEAD if who is None else f"running ({who})"


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Be the one that writes into `out` while the block runs. Raises LockedError where another process is."""
    ours = Holder(pid=os.getpid(), born=_born(os.getpid()), since=_now(), **_place())
    with alone(out / f".{FILE}.guard"):  # between the look and the writing
        if (other := holder(out)) is not None:
            raise LockedError(_refusal(out, other))
        write_json(out / FILE, asdict(ours))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if read_json(out / FILE) == asdict(ours):
                (out / FILE).unlink()


def _refusal(out: Path, other: Holder) -> str:
    if other.here:
        return f"{out}: a run is writing there ({other}); wait for its end, stop it, or choose another --out"
    return (
        f"{out}: a run is writing there as far as can be seen from {socket.gethostname()} ({other}); if it has ended, remove "
        f"{out / FILE}"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _place() -> dict[str, str]:
    return {"host": socket.gethostname(), "boot": _boot(), "processes": _processes()}


def _boot() -> str:
    """Of this start of the system; numbers and times of processes begin anew with each."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _processes() -> str:
    """The namespace that process numbers are counted in: that of a container is not its neighbour's."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When the process began, in whatever the system counts; empty where there is none (any more)."""
    if not Path("/proc/self/stat").exists():
        return _asked(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return "" if state in "ZX" else fields[18]  # a zombie writes nothing any more


def _asked(pid: int) -> str:
    """Of a system without /proc."""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    utc = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}  # the same words whatever the asker's clock shows
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, env=utc)
    except OSError:  # there is no `ps` either
        return _UNKNOWN if _exists(pid) else ""
    return found.stdout.strip()


def _exists(pid: int) -> bool:
    """A process with this number, whenever it began; true where nobody can be asked (on Windows, signal 0 is Ctrl-C)."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
