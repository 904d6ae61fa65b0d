"""Two processes on one card: what each backend says to it, and where it works, whether the results are those they should be.

A run refuses this on purpose (each process takes the GPU of its own number): here only the arithmetic is looked at.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.setting import REPO, Setting, attempts, environment, row

WORLD = 2


def rows(setting: Setting) -> Iterator[dict[str, Any]]:
    backends = ["gloo"] if setting.toy else ["nccl", "gloo"]
    for backend in backends:
        yield from attempts([f"{WORLD} processes, one card, {backend}"], lambda name: together(name, backend, setting))  # noqa: B023


def together(name: str, backend: str, setting: Setting) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(WORLD), "OMP_NUM_THREADS": "1"}
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.one_rank", backend, setting.as_json(), folder],
                cwd=REPO, env=environment(**shared, RANK=str(rank)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for rank in range(WORLD)
        ]  # fmt: skip
        said = [
            finish(child, min(40.0, setting.left - 5) if backend == "nccl" else setting.left - 5) for child in children
        ]
        print(*said, sep="\n", flush=True)
        found = [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]
    if len(found) < WORLD or any(child.returncode for child in children):
        why = next((line for line in reversed("\n".join(said).splitlines()) if "Error" in line), "it said nothing")
        # A backend may want a card for each process, NCCL does: that it says so is then what there is to see.
        yield row(name, "refused", note=why.strip()[:300], holds=False if setting.toy else None)
        return
    for case in found[0]:
        yield row(f"{name}: {case['name']}", **{key: value for key, value in case.items() if key != "name"})


def finish(child: subprocess.Popen[str], seconds: float) -> str:
    try:
        return child.communicate(timeout=max(seconds, 1))[0]
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()[0] + "\nTimeoutError: ended by the time limit"
