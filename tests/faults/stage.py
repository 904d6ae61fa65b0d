"""A run of the command line in a process of its own, to which something happens; and what came of it."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny_run

from paper_recipes.runner import cli, run_files
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.reports import page

NAME = "tiny+sampler.classes_per_batch=2"  # checkpoints and evaluations at each of its six iterations
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BAR = re.compile(r"^[\w+.= ]+: +\d+%\|")
_END = re.compile(r"error: |failed |stopped|diverged ")
Befalls = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Ended:
    """A command's end. code: as a shell sees it; negative: by that signal."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The line that says how it ended, else its last line; a bar of progress is none."""
        lines = [_ESCAPES.sub("", line).strip() for line in re.split(r"[\r\n]", f"{self.err}\n{self.out}")]
        lines = [line for line in lines if line and not _BAR.search(line)]
        return next((line for line in reversed(lines) if _END.match(line)), lines[-1] if lines else "")


@dataclass(frozen=True)
class Outcome:
    """how: "real", or what was simulated. resumed: whether `--resume` came to the same bits; None: not tried."""

    how: str
    code: int
    said: str
    status: str
    resumed: bool | None = None
    left: tuple[str, ...] = ()  # temporary files and locks in the run's folder at the very end


@dataclass(frozen=True)
class Fault:
    """What happens, and what must come of it: regular expressions for the last line and for the status in run.json."""

    name: str
    act: Callable[[Stage], Outcome]
    code: int
    said: str = ""
    status: str = ""
    resumed: bool | None = True

    def wrong(self, got: Outcome) -> str:
        """The first thing that is not as it must be; empty where all is."""
        if got.code != self.code:
            return f"exit code {got.code}, not {self.code}: {got.said}"
        if not re.search(self.said, got.said):
            return f"it said {got.said!r}, not {self.said!r}"
        if not re.search(self.status, got.status):
            return f"its status is {got.status!r}, not {self.status!r}"
        if got.resumed is not self.resumed:
            return f"resumed to the same bits: {got.resumed}, not {self.resumed}"
        return f"left behind: {', '.join(got.left)}" if got.left else ""


class Stage:
    """Pictures and a run that nothing befell, and a place for those that something does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = tiny_run.make_pictures(folder / "pictures")
        self.cache = folder / "cache"
        self.reference = folder / "reference"
        ended = self.run(self.reference)
        assert ended.code == 0, ended.err

    def new(self) -> Path:
        """A folder for a run, which is not there yet."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / "run"

    def run(self, out: Path, *words: str, data: Path | None = None, befalls: Befalls | None = None) -> Ended:
        given = ["--data", str(data or self.data), "--iterations", str(tiny_run.ITERATIONS), "--out", str(out)]
        return self.call(["run", NAME, *given, "--workers", "0", *words], befalls)

    def call(self, words: list[str], befalls: Befalls | None = None) -> Ended:
        """`python -m paper_recipes WORDS` in a fork of this process, which has imported everything already."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        child = os.fork()
        if child == 0:
            _become(words, befalls, place, self.cache)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, *((place / name).read_text(errors="replace") for name in ("out", "err")))

    def outcome(self, ended: Ended, out: Path, *, how: str = "real", resume: bool = True, **again: Any) -> Outcome:
        """What is left in `out`, and what `--resume` makes of it."""
        status = ""
        if (out / "run.json").exists():
            status = str(run_files.record(out)["status"])
        resumed = None
        if resume:
            second = self.run(out, "--resume", **again)
            resumed = second.code == 0 and self.same(out)
        return Outcome(how, ended.code, self.short(ended.said), status and self.short(status), resumed, _left(out))

    def same(self, out: Path) -> bool:
        """Checkpoints, steps and evaluations are those of the run that nothing befell, to the bit."""
        files = [f"checkpoints/{path.name}" for path in (self.reference / "checkpoints").iterdir()]
        files += ["steps.jsonl", "evaluations.jsonl", "pictures.sha256"]
        return all((out / name).read_bytes() == (self.reference / name).read_bytes() for name in files)

    def short(self, text: str) -> str:
        """Without what is another one every time: this stage's folders, the command that goes on, process and moment."""
        text = re.sub("go on with: .*", "go on with: COMMAND", text)
        text = re.sub(r"process \d+ on \S+ since [^)]*", "process N on HOST since THEN", text)
        text = re.sub(r"pid \d+(, \d+)*", "pid N", text)
        text = re.sub(rf"{re.escape(str(self.folder))}/\w+/run", "RUN", text)
        return text.replace(str(self.data), "DATA").replace(str(self.folder), "FOLDER")


def _become(words: list[str], befalls: Befalls | None, place: Path, cache: Path) -> None:
    """The child: never returns."""
    code = 1
    try:
        os.setsid()  # what is sent to its group reaches no one else
        for number, name in ((1, "out"), (2, "err")):
            handle = os.open(place / name, os.O_WRONLY | os.O_CREAT)
            os.dup2(handle, number)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.environ["DML_PORTS_CACHE"] = str(cache)
        patch = pytest.MonkeyPatch()
        tiny_run.know(patch)
        patch.setattr(page, "_draw", lambda *args: [])  # half of a run's seconds, and nothing happens to them
        if befalls is not None:
            befalls(patch)
        sys.argv = ["paper_recipes", *words]
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)  # whatever happens: this process is a copy of the one that makes the table


def _left(out: Path) -> tuple[str, ...]:
    return tuple(
        str(path.relative_to(out)) for path in out.rglob("*") if path.name.startswith(".") or path.suffix == ".lock"
    )


def at_step(iteration: int, act: Callable[[], Any]) -> Befalls:
    """`act` happens in the step of `iteration`."""

    def befalls(patch: pytest.MonkeyPatch) -> None:
        step = CaffeEngine.step

        def acted(self: Any, images: Any, labels: Any) -> Any:
            if self.solver.iter + 1 == iteration:
                act()
            return step(self, images, labels)

        patch.setattr(CaffeEngine, "step", acted)

    return befalls
