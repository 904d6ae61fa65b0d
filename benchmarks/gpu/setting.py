"""What a part is told, and how it tells what it found."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Setting:
    """Of one part, in its own process.

    toy: the smallest sizes, for a machine without a GPU. device: "cuda" or "cpu". out: the folder of results.
    steps: of the runs that are compared. seconds: the part's time limit, from the moment this object is made.
    """

    toy: bool
    device: str
    out: str
    steps: int
    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    def as_json(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if name != "started"})


def row(
    name: str,
    ours: Any = None,
    *,
    peer: Any = None,
    ratio: float | None = None,
    target: str | None = None,
    unit: str = "",
    note: str = "",
    holds: bool | None = None,
) -> dict[str, Any]:
    """A row of RESULTS.md; strict JSON, which has no NaN. holds: whether the target is reached, where there is one that a machine can judge."""
    return {
        "name": name, "ours": _finite(ours), "peer": _finite(peer), "ratio": _finite(ratio), "target": target, "unit": unit, "note": note, "holds": holds,
    }  # fmt: skip


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def attempts(names: list[str], work: Callable[[str], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The rows of `work` for each name; what one of them raises is its row, and the next one is tried."""
    for name in names:
        try:
            yield from work(name)
        except Exception as error:  # a GPU out of memory, a run that diverged: the others can still be known
            line = (str(error).strip().splitlines() or [""])[0]
            yield row(name, "failed", note=f"{type(error).__name__}: {line[:300]}", holds=False)


def environment(**more: str) -> dict[str, str]:
    """For a Python of its own: these packages are importable whatever is installed, cuBLAS is told before CUDA starts."""
    given = {**os.environ, "PYTHONPATH": str(REPO), "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONHASHSEED": "0"}
    beside = REPO / "shared" / "reference"  # where the recorded outputs travel inside the checkout
    if "DML_PORTS_REFERENCE" not in given and beside.is_dir():
        given["DML_PORTS_REFERENCE"] = str(beside)
    return {**given, **more}


def loader_workers(batch_bytes: int, processes: int, most: int) -> int:
    """How many loaders each of `processes` may have: their four waiting batches lie in shared memory, which may be small."""
    free = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    return max(0, min(most, int(0.8 * free / processes / (4 * batch_bytes)), (os.cpu_count() or 1) // processes))
