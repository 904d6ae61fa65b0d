"""The command line behind a watching process: a loss that ends its process, or hangs where no signal reaches it, is a row.

The watcher starts the same command as a child. The child writes into a journal before and after each call of the loss, and at its
orderly end. A child that ends otherwise, or whose call outlasts its limit, is started once more and told which call was lost; it
gives that call the reason and calls the loss no more.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from . import cli, limits

_COMMANDS = ("check", "identify", "record", "audit")  # those that call somebody's loss
_GRACE = 5.0  # seconds beyond the limit: the child's own alarm comes first


def main() -> NoReturn:
    """The command of sys.argv, watched where it runs a loss."""
    arguments = sys.argv[1:]
    if limits.JOURNAL in os.environ:
        try:
            cli.main(arguments)
        finally:
            limits.write("finished")
    if not arguments or arguments[0] not in _COMMANDS or {"-h", "--help"} & set(arguments):
        cli.main(arguments)
    sys.exit(_watch(arguments))


def _watch(arguments: list[str]) -> int:
    lost: dict[str, object] = {}
    for _ in range(2):
        with tempfile.TemporaryDirectory(prefix="dml-golden-") as folder:
            journal = Path(folder) / "journal"
            journal.touch()
            code, reason = _run(arguments, journal, lost)
            lines = journal.read_text(encoding="utf-8").splitlines()
        if not reason and lines and lines[-1] == "finished":
            return code
        last = next((line for line in reversed(lines) if line.startswith("call ")), "")
        if not last or lines[-1] != last:
            break
        reason = reason or f"ended the process ({_ending(code)})"
        lost = {"call": int(last.split()[1]), "reason": reason}
    where = "was imported" if not lost and not last else "was run, outside of a call"
    print(f"error: the process ended ({_ending(code)}) while the target {where}", file=sys.stderr)
    return 2


def _run(arguments: list[str], journal: Path, lost: dict[str, object]) -> tuple[int, str]:
    """(exit code, why the child was stopped or "")."""
    environment = {**os.environ, limits.JOURNAL: str(journal), limits.LOST: json.dumps(lost)}
    child = subprocess.Popen([sys.executable, "-m", str(__package__), *arguments], env=environment)
    while True:
        try:
            return child.wait(timeout=1), ""
        except subprocess.TimeoutExpired:
            lines = journal.read_text(encoding="utf-8").splitlines()
            if not lines or not lines[-1].startswith("call "):
                continue
            limit = float(lines[-1].split()[2])
            if time.time() - journal.stat().st_mtime > limit + _GRACE:
                child.kill()
                return child.wait(), f"took longer than {limit:g} s, and no signal interrupts it"
        except KeyboardInterrupt:
            child.wait()
            raise


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
