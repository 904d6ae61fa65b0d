"""Start-up times of what a user types often, each in a fresh interpreter."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import Any

COMMANDS = (
    ("python -m paper_recipes list", ["-m", "paper_recipes", "list"], "< 0.3 s"),
    ("import golden", ["-c", "import golden"], "< 0.1 s more than the interpreter"),
    ("import caffe_compat.schema", ["-c", "import caffe_compat.schema"], "< 0.1 s more than the interpreter"),
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


def run(quick: bool = False) -> list[dict[str, Any]]:
    repeats = 2 if quick else 11
    bare = seconds_of(["-c", "pass"], repeats)
    return [
        {
            "name": name,
            "ours": seconds_of(arguments, repeats),
            "peer": bare,
            "unit": "s",
            "target": target,
            "note": f"whole process, median of {repeats}; peer: the bare interpreter",
        }
        for name, arguments, target in COMMANDS
    ]
