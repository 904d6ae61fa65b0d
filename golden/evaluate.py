"""Run a loss on one batch and say in one line what is wrong if it cannot be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .cases import Argument, Case
from .faults import where
from .frameworks import Problem, framework_of, runner
from .limits import Fatal, watched


@dataclass
class Outcome:
    """What the user's loss gave: float64 copies of value, gradients and further outputs, or a `problem` in words."""

    loss: float = float("nan")
    gradients: tuple[np.ndarray, ...] = ()
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    by_differences: bool = False
    fatal: bool = False  # the loss must not be called again


def dtype_name(dtype: Any) -> str:
    """ "float64" of torch.float64, "torch.float64", np.float64, ...; ValueError for anything but 32 and 64 bits."""
    name = str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return name


def evaluate(
    loss: Callable[..., Any],
    arguments: Sequence[Argument],
    *,
    dtype: Any,
    device: Any = "cpu",
    upstream: float = 1.0,
    framework: str | None = None,
    outputs: Sequence[str] = (),
) -> Outcome:
    """Value, d(upstream * value), and the `outputs` of these names. Never raises for what the loss does; KeyboardInterrupt passes.

    framework : "torch", "jax", "tensorflow" or "numpy"; by default what the loss is written in (`framework_of`).
    """
    outcome = Outcome()
    try:
        run = runner(framework or framework_of(loss))
        with watched():
            run(loss, arguments, dtype_name(dtype), device, upstream, tuple(outputs), outcome)
        _finite(outcome)
    except Problem as problem:
        outcome.problem = str(problem)
    except Fatal as fatal:
        outcome.problem, outcome.fatal = str(fatal), True
    except (Exception, SystemExit) as error:
        outcome.problem = where(error)
    if outcome.problem:
        outcome.gradients = ()
    return outcome


def evaluate_case(loss: Callable[..., Any], case: Case, dtype: str, **options: Any) -> Outcome:
    """`evaluate` on a case as its record in `dtype` was made: with that upstream gradient, and the outputs that it compares."""
    expected = case.expected[dtype]
    return evaluate(
        loss, case.arguments, dtype=dtype, upstream=expected.upstream, outputs=tuple(expected.outputs), **options
    )


def _finite(outcome: Outcome) -> None:
    for what, arrays in (("gradient", outcome.gradients), ("output", tuple(outcome.outputs.values()))):
        if not all(np.isfinite(a).all() for a in arrays):
            rows = sorted({int(i) for a in arrays for i in np.argwhere(~np.isfinite(a))[:, 0]})
            raise Problem(f"{what} is not finite in rows {rows[:8]}{'...' if len(rows) > 8 else ''}")
