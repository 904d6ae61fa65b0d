"""What a golden set is made of: arguments, cases, what was recorded of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Argument:
    """One positional argument of the loss. Gradients are recorded for those that are `differentiable`."""

    name: str
    array: np.ndarray
    differentiable: bool = False

    @property
    def is_label(self) -> bool:
        return self.array.dtype.kind in "iu"


def as_double(array: np.ndarray) -> np.ndarray:
    """Labels and indices as int64, everything else as float64."""
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)


@dataclass(frozen=True)
class Expected:
    """What the program computed in one dtype: its value, and d(upstream * value) by each differentiable argument.

    Of a large gradient by the embeddings only some `rows` and its product with a `probe` (D, 3) were kept: `gradients` are
    then these two, followed by those of the other arguments. `outputs`: what else the program gave and the set compares.
    """

    loss: float
    gradients: tuple[np.ndarray, ...]
    upstream: float = 1.0
    rows: np.ndarray | None = None
    probe: np.ndarray | None = None
    outputs: dict[str, np.ndarray] = field(default_factory=dict)

    def view(self, gradients: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Whole gradients as the record keeps them."""
        if self.rows is None or self.probe is None:
            return gradients
        return gradients[0][self.rows], gradients[0] @ self.probe, *gradients[1:]


@dataclass(frozen=True)
class Case:
    """One batch. `arguments` in calling order; `expected` by dtype name ("float64", "float32")."""

    name: str
    arguments: tuple[Argument, ...]
    expected: dict[str, Expected]

    def unflatten(self, gradients: np.ndarray) -> tuple[np.ndarray, ...]:
        """One flat vector as the gradients by the differentiable arguments."""
        shapes = [a.array.shape for a in self.arguments if a.differentiable]
        parts = np.split(gradients, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes))


@dataclass(frozen=True)
class GoldenSet:
    """One loss at one setting. `kind`: authors_program, independent_program or own_run, never two in one set."""

    name: str
    what: str
    signature: str
    params: dict[str, Any]
    kind: str
    program: str
    family: str
    cases: tuple[Case, ...] = field(repr=False)

    @property
    def dtypes(self) -> tuple[str, ...]:
        return tuple(d for d in ("float64", "float32") if any(d in case.expected for case in self.cases))
