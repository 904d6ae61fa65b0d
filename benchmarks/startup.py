"""Start-up times of what a user types often, each in a fresh interpreter."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

BARE = "pass"
PROTOBUF = "import google.protobuf.message_factory, google.protobuf.text_format"
# what, its arguments, what its time is compared with, target
COMMANDS = (
    ("python -m paper_recipes list", ["-m", "paper_recipes", "list"], BARE, "< 0.3 s"),
    ("import golden", ["-c", "import golden"], BARE, "< 0.1 s more than the interpreter"),
    (
        "import caffe_compat.schema",
        ["-c", "import caffe_compat.schema"],
        PROTOBUF,
        "< 0.1 s more than protobuf's import",
    ),
)


def seconds_of(arguments: list[str], repeats: int) -> float:
    """Median wall-clock time of a whole process, the first (cold files, no bytecode yet) left out."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


LETTERS = """
from paper_recipes import registry
from paper_recipes.runner.data import run_data, scale
recipe = registry.get("rll-sop")
run_data.open_embedded(recipe, scale.embedded(recipe), recipe.seed)
"""


def seconds_to_letters() -> float:
    """Wall-clock time of a process that has the letters of rll-sop drawn in an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        environment = {**os.environ, "DML_PORTS_CACHE": cache}
        subprocess.run([sys.executable, "-c", LETTERS], check=True, stderr=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - start


RUN = ("-m", "paper_recipes", "run", "rll-sop")
FIRST, TRAINING = "LETTERS form", "files go to"


def seconds_to(line: str, repeats: int) -> float:
    """Median wall-clock time from a run's start to the line with these words, on a warm cache of letters; it is then stopped."""
    times = []
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            process = subprocess.Popen([sys.executable, *RUN, "--out", out], stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            if not any(line in said for said in process.stdout):
                raise RuntimeError(f"no line with {line!r} from {' '.join(RUN)}")
            times.append(time.perf_counter() - start)
            process.kill()
            process.communicate()
    return statistics.median(times[1:])


def run(quick: bool = False) -> list[dict[str, Any]]:
    repeats = 2 if quick else 11
    bases = {code: seconds_of(["-c", code], repeats) for code in (BARE, PROTOBUF)}
    few = 2 if quick else 5
    torch = seconds_of(["-c", "import torch"], few)
    first = {
        "name": "run rll-sop: its first line",
        "ours": seconds_to(FIRST, few),
        "peer": bases[BARE],
        "unit": "s",
        "target": "< 0.5 s",
        "note": f"median of {few}; peer: python -c {BARE!r}",
    }
    training = {
        "name": "run rll-sop: training starts",
        "ours": seconds_to(TRAINING, few),
        "peer": torch,
        "unit": "s",
        "target": "< 8 s more than torch's import",
        "note": f"letters drawn before; median of {few}; peer: python -c 'import torch'",
    }
    letters = {
        "name": "letters of rll-sop on an empty cache",
        "ours": statistics.median(seconds_to_letters() for _ in range(1 if quick else 3)),
        "unit": "s",
        "target": "< 8 s",
        "note": "whole process, its imports included; median of 3",
    }
    return [
        {
            "name": name,
            "ours": seconds_of(arguments, repeats),
            "peer": bases[base],
            "unit": "s",
            "target": target,
            "note": f"whole process, median of {repeats}; peer: python -c {base!r}",
        }
        for name, arguments, base, target in COMMANDS
    ] + [first, training, letters]
