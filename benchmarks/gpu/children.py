"""A part as a child: its time limit, its log, its rows; nothing of it is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.setting import REPO, Setting, environment


@dataclass
class Outcome:
    """status: done, failed, timed out, skipped. error: what was said last, or why it was skipped."""

    status: str
    seconds: float = 0.0
    error: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        facts = asdict(self)
        del facts["rows"]
        return facts


def run(name: str, setting: Setting, command: list[str] | None = None) -> Outcome:
    """The part's outcome; the rows that it wrote before it failed or ran out of time are kept.

    command: what is run instead of the part; it may write rows to NAME.jsonl in `setting.out`.
    """
    out = Path(setting.out)
    found, log = out / f"{name}.jsonl", out / f"{name}.log"
    found.unlink(missing_ok=True)
    command = command or [sys.executable, "-m", "benchmarks.gpu.part", name, setting.as_json()]
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as said:
        child = subprocess.Popen(
            command, cwd=REPO, env=environment(), stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = child.wait(timeout=setting.seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(child)
    seconds = round(time.monotonic() - started, 1)
    rows = read_rows(found)
    if code == 0:
        return Outcome("done", seconds, rows=rows)
    if code is None:
        return Outcome("timed out", seconds, f"after {setting.seconds:.0f} s; {last_line(log)}", rows)
    how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
    return Outcome("failed", seconds, f"{how}: {last_line(log)}", rows)


def end(child: subprocess.Popen[Any]) -> None:
    """The child and all that it started: it leads a process group of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM:
            time.sleep(0.2)  # grandchildren get the same signal; what is left of them is killed


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines; a torn last one is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:400] if lines else "it said nothing"
