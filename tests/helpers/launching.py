"""Several processes of one run, started as torchrun starts them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from helpers.paths import environment


def launch(script: Path | str, *args: str, world: int = 2) -> list[subprocess.Popen]:
    """Processes with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, str(script), *args],
            env=environment(**common, RANK=str(rank)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world)
    ]  # fmt: skip


def finish(processes: list[subprocess.Popen], seconds: int = 240) -> list[tuple[int, str, str]]:
    deadline, ends = time.time() + seconds, []
    try:
        for process in processes:
            out, err = process.communicate(timeout=max(deadline - time.time(), 1))
            ends.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ends
