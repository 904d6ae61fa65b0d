"""All tests marked gpu, on as many workers as help; the outcome of each is in tests.log."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.setting import REPO, Setting, environment, row

WORKERS = 8
TOY = ["tests/ports/metrics/test_retrieval.py"]
# "[gw3] [ 12%] PASSED tests/x.py::name" with xdist, "tests/x.py::name PASSED [ 12%]" without
_OUTCOME = re.compile(r"^(?:\[gw\d+\] \[ *\d+%\] (\w+) |\S+::.*? (\w+) (?:\(.*\) )? *\[ *\d+%\]$)", re.MULTILINE)
_SAID = re.compile(r"^(FAILED|ERROR) (\S+)(?: - (.*))?$", re.MULTILINE)
_SKIPPED = re.compile(r"^SKIPPED \[(\d+)\] \S+: (.*)$", re.MULTILINE)


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    text = output(setting, TOY if setting.toy else marked())
    print(text)
    yield from outcomes(text, toy=setting.toy)


def marked() -> list[str]:
    """The test files that hold a test marked gpu: the others need not be read."""
    files = sorted((REPO / "tests").rglob("test_*.py"))
    return [str(file.relative_to(REPO)) for file in files if "mark.gpu" in file.read_text(encoding="utf-8")]


def output(setting: Setting, files: list[str]) -> str:
    """What pytest says; where its time is up, what it had said by then."""
    command = [sys.executable, "-m", "pytest", "-v", "-rfEs", "--durations=15", "-p", "no:cacheprovider", "-m", "gpu"]
    command += ["-p", "no:benchmark"]  # where it is installed it warns of xdist, and a warning is an error here
    if importlib.util.find_spec("xdist") and not setting.toy:
        command += ["-n", str(WORKERS), "--dist", "worksteal"]
    child = subprocess.Popen(
        [*command, *files], cwd=REPO, env=environment(OMP_NUM_THREADS="2", COLUMNS="400"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        return child.communicate(timeout=max(setting.left - 15, 1))[0]
    except subprocess.TimeoutExpired:
        child.terminate()
        try:
            return child.communicate(timeout=5)[0] + "\nended by the time limit\n"
        except subprocess.TimeoutExpired:
            child.kill()
            return child.communicate()[0] + "\nended by the time limit\n"


def outcomes(text: str, *, toy: bool) -> Iterator[dict[str, Any]]:
    count = Counter(with_xdist or alone for with_xdist, alone in _OUTCOME.findall(text))
    passed, bad = count["PASSED"], count["FAILED"] + count["ERROR"]
    skipped = "; ".join(f"{number} skipped: {why[:120]}" for number, why in _SKIPPED.findall(text))
    cut = "ended by the time limit" in text
    summary = [
        line for line in text.splitlines() if re.match(r"=+ .*\d+ (passed|failed|skipped|error|deselected)", line)
    ]
    note = "; ".join(filter(None, [summary[-1].strip("= ") if summary else "no summary", skipped]))
    whole = bool(summary) and not cut and not bad and (toy or passed > 0)
    yield row("tests passed", passed, peer=passed + bad, target="all", unit="tests", note=note, holds=whole)
    for kind, name, why in _SAID.findall(text):
        yield row(name, kind.lower(), note=why[:300], holds=False)
