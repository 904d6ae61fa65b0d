"""How much of a GPU's memory a recipe's training takes, on paper: the bytes of all tensors that a step at its own batch holds.

gpu_memory.json is written by `python -m tools.cuda`, which runs the step without numbers and counts. What cuDNN and cuBLAS take beside
the tensors, and the gaps between them, are not in it: an H200 held 0.99 (ms-cub), 1.01 (osm-cub) and 1.23 (rll-sop) times the count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("gpu_memory.json")
CARDS = (16, 24, 40, 80)  # GB
# For what is not counted: a quarter for workspaces, a little more than the most that was seen; 1 GB is assumed for CUDA itself.
_BESIDE, _CUDA = 1.25, 1e9


@dataclass(frozen=True)
class GpuMemory:
    """Bytes. state: weights, statistics, momenta, a memory of embeddings. step, evaluation: the most held, state included."""

    batch: int
    state: int
    step: int
    evaluation: int

    @property
    def needed(self) -> float:
        """Bytes that a card must have."""
        return max(self.step, self.evaluation) * _BESIDE + _CUDA

    def __str__(self) -> str:
        fits = [str(card) for card in CARDS if self.needed <= card * 1e9]
        cards = f"fits a card of {', '.join(fits)} GB" if fits else f"fits no card of {CARDS[-1]} GB"
        return (
            f"{self.step / 1e9:.1f} GB in a step of {self.batch:,} images, {self.evaluation / 1e9:.1f} GB in an evaluation (counted on "
            f"paper, not measured); with a quarter beside the count and 1 GB for CUDA it {cards}"
        )


@cache
def _table() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))["recipes"]  # type: ignore[no-any-return]


def of(name: str) -> GpuMemory | None:
    """Of a frozen recipe; None for a derived one, which was not counted."""
    found = _table().get(name)
    return None if found is None else GpuMemory(**found)
