"""Compare one outcome with the recorded numbers. NumPy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .cases import Case, Expected
from .evaluate import Outcome
from .frameworks.differences import RTOL as DIFFERENCES


@dataclass(frozen=True)
class Tolerance:
    """Limits of |got - expected|: rtol * |loss| + atol; for the gradient rtol * (largest entry) + gradient_atol."""

    rtol: float
    atol: float
    gradient_atol: float

    def loss_limit(self, size: float) -> float:
        return self.rtol * size + self.atol

    def gradient_limit(self, largest: float) -> float:
        return self.rtol * largest + self.gradient_atol


# float64: sums in another order differ by about N * 1e-16 (N <= 80 samples) and a weight e^(T h), T h <= 28, multiplies that
# by 28: 1e-13. 1e-10 leaves room for a BLAS with other blocking and is 50 times below the nearest wrong port (margins taken as
# doubles, 5e-9 in the weights). float32: the records carry rounding of their own, 2e-6 in a mean over thousands of pairs; terms of a
# loss that cancel leave 1e-7 (one unit in the last place of 1). Entries of a gradient may be 1e-6 throughout (OSM divides by the
# number of pairs), so its absolute part is only there for gradients that cancel to zero.
TOLERANCES = {"float64": Tolerance(1e-10, 1e-12, 1e-12), "float32": Tolerance(1e-5, 1e-7, 1e-10)}


@dataclass
class Row:
    """One case in one dtype. Errors are in units of the tolerance; `cosine` and `norm_ratio` compare the gradients.

    `output_error`: of what else the set compares (the attention of `caa`), NaN where it compares nothing else.
    """

    case: str
    dtype: str
    expected: float
    got: float
    loss_error: float
    gradient_error: float
    cosine: float
    norm_ratio: float
    verdict: str  # pass, fail (numbers differ), error (no numbers)
    why: str = ""
    expected_norm: float = float("nan")
    got_norm: float = float("nan")
    output_error: float = float("nan")

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which knows neither NaN nor infinity: None."""
        values = asdict(self)
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()}


def flat(gradients: tuple[np.ndarray, ...]) -> np.ndarray:
    """All gradients of a case as one float64 vector."""
    return np.concatenate([np.asarray(g, np.float64).ravel() for g in gradients])


def _array_error(got: np.ndarray, expected: np.ndarray, tolerance: Tolerance) -> float:
    """The largest difference, in units of what is allowed beside the array's largest entry."""
    limit = tolerance.gradient_limit(float(np.abs(expected).max(initial=0)))
    return float(_in_units(float(np.abs(got - expected).max(initial=0)), limit))


def _in_units(error: float, limit: float) -> float:
    return error / limit if limit > 0 else 0.0 if error == 0 else float("inf")


def compare(case: Case, dtype: str, outcome: Outcome, tolerance: Tolerance) -> Row:
    """The row of one case: the recorded numbers of `dtype` against the outcome."""
    expected: Expected = case.expected[dtype]
    nan = float("nan")
    row = Row(case.name, dtype, expected.loss, outcome.loss, nan, nan, nan, nan, "error", outcome.problem)
    want = flat(expected.gradients)
    row.expected_norm = float(np.linalg.norm(want))
    if outcome.problem:
        return row
    differentiable = [a.array.shape for a in case.arguments if a.differentiable]
    if [g.shape for g in outcome.gradients] != differentiable:
        row.why = f"gradient shapes {[g.shape for g in outcome.gradients]}, expected {differentiable}"
        return row
    gradients = expected.view(outcome.gradients)
    got = flat(gradients)
    row.loss_error = _in_units(abs(outcome.loss - expected.loss), tolerance.loss_limit(abs(expected.loss)))
    limits = replace(tolerance, rtol=max(tolerance.rtol, DIFFERENCES)) if outcome.by_differences else tolerance
    # Each argument against its own largest entry: a small gradient must not hide behind a large one.
    row.gradient_error = max(_array_error(g, e, limits) for g, e in zip(gradients, expected.gradients))
    row.got_norm = float(np.linalg.norm(got))
    if row.expected_norm > 0:
        row.norm_ratio = row.got_norm / row.expected_norm
        if row.got_norm > 0:
            row.cosine = float(np.clip(want @ got / (row.expected_norm * row.got_norm), -1, 1))
    wrong_shapes = [n for n, e in expected.outputs.items() if outcome.outputs[n].size != e.size]
    if wrong_shapes:
        row.why = f"{wrong_shapes[0]} has shape {outcome.outputs[wrong_shapes[0]].shape}, expected {expected.outputs[wrong_shapes[0]].shape}"
        return row
    outputs = {n: _array_error(outcome.outputs[n].reshape(e.shape), e, tolerance) for n, e in expected.outputs.items()}
    row.output_error = max(outputs.values(), default=nan)
    bad_outputs = [name for name, error in outputs.items() if not error <= 1]
    good_loss, good_gradient = row.loss_error <= 1, row.gradient_error <= 1
    row.verdict = "pass" if good_loss and good_gradient and not bad_outputs else "fail"
    notes = [*(f"{name} differs" for name in bad_outputs), *outcome.notes]
    if not good_loss:
        notes.insert(0, "loss differs" if not good_gradient else "only the loss differs")
    if not good_gradient:
        notes.insert(0, "gradient differs" if not good_loss else "only the gradient differs")
    row.why = "; ".join(notes)
    return row
