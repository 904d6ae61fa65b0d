"""What a loss gave on a set's cases, for the diagnosis: beside the record, with how close counts as reproduced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .cases import Case, Expected, GoldenSet
from .compare import flat
from .evaluate import evaluate

# Of the gradient's largest entry: so closely a deviation must reproduce the user's gradient to count as found. In float32 a right
# loss may be off by 1e-5 of that entry (golden.compare), and so may one with a deviation.
MATCH = {"float64": 1e-6, "float32": 1e-4}


@dataclass(frozen=True)
class Target:
    """What the user's loss gave on one case, and what was recorded. `match`: how close counts as reproduced, relative."""

    case: Case
    gradients: tuple[np.ndarray, ...]
    loss: float
    recorded: Expected
    match: float
    outputs: dict[str, np.ndarray] = field(default_factory=dict)

    def output_error(self, name: str, others: dict[str, np.ndarray]) -> float:
        """Largest difference of a further output to another of that name, relative to its largest entry."""
        want = others[name]
        return float(
            np.abs(self.outputs[name].reshape(want.shape) - want).max(initial=0) / max(np.abs(want).max(), 1e-300)
        )

    @property
    def upstream(self) -> float:
        return self.recorded.upstream

    @property
    def expected_loss(self) -> float:
        return self.recorded.loss

    @property
    def want(self) -> np.ndarray:
        """The recorded gradient, flat."""
        return flat(self.recorded.gradients)

    @property
    def got(self) -> np.ndarray:
        """The user's gradient in the form that was recorded, flat."""
        return flat(self.recorded.view(self.gradients))

    @property
    def gradient_error(self) -> float:
        size = np.abs(self.want).max(initial=0)
        return float(np.abs(self.got - self.want).max(initial=0) / (size if size > 0 else 1.0))

    @property
    def loss_error(self) -> float:
        return abs(self.loss - self.expected_loss) / max(abs(self.expected_loss), 1e-12)

    @property
    def cosine(self) -> float:
        want, got = self.want, self.got
        size = np.linalg.norm(want) * np.linalg.norm(got)
        return float(want @ got / size) if size > 0 else float("nan")


def run(
    loss: Callable[..., Any], golden_set: GoldenSet, dtype: str, **options: Any
) -> tuple[list[Target], list[tuple[str, str]]]:
    """What the loss gives in `dtype` on the cases where it gives numbers, and (case, why not) of the others."""
    usable, problems = [], []
    for case in golden_set.cases:
        want = case.expected["float64" if "float64" in case.expected else "float32"]
        outcome = evaluate(
            loss, case.arguments, dtype=dtype, upstream=want.upstream, outputs=tuple(want.outputs), **options
        )
        if outcome.problem:
            problems.append((case.name, outcome.problem))
        else:
            usable.append(Target(case, outcome.gradients, outcome.loss, want, MATCH[dtype], outcome.outputs))
    return usable, problems
