"""How a loss that is not equal stands to a golden set: behind an L2 layer, up to a factor, on ordinary batches, or not at all.

A relation is stated of all cases together and to the tolerance of the check, never from an average.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .batches import special
from .cases import Case, GoldenSet
from .compare import Row, Tolerance, flat
from .evaluate import Outcome, evaluate
from .frameworks.layers import normalisation
from .model import compute
from .references import reference_for

_LENGTHS = "rows that are not unit vectors"  # there are none behind an L2 layer
_LAYER = "unit rows in, and the gradient led through"
#: `Relation.kind`, from the nearest to the farthest
KINDS = ("equal", "behind-l2", "factor", "ordinary", "behind-l2-ordinary", "value", "gradient", "differs", "error")


@dataclass(frozen=True)
class Relation:
    """`kind` is one of `KINDS`; `words` complete "the loss ..."; `factor`: gradient over the recorded one, where it is constant."""

    kind: str
    words: str
    factor: float | None = None
    special: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A case in one dtype, what the loss gave on it, and the row that came of it."""

    case: Case
    dtype: str
    outcome: Outcome
    row: Row


def relate(
    loss: Callable[..., Any],
    golden_set: GoldenSet,
    trials: Sequence[Trial],
    tolerance: dict[str, Tolerance],
    **options: Any,
) -> Relation:
    """The nearest relation that holds. `options` go to `evaluate`."""
    verdicts = {t.row.verdict for t in trials}
    if verdicts == {"pass"}:
        return Relation("equal", f"equals {golden_set.name}")
    if verdicts == {"error"} or any(t.outcome.fatal for t in trials):
        return Relation("error", "gives no numbers to compare")
    agreeing = agree_behind_l2(loss, golden_set, trials, tolerance, **options)
    behind = f"equals {golden_set.name} behind an L2 layer ({_LAYER})"
    if agreeing and all(agreeing):
        return Relation("behind-l2", behind)
    if "error" not in verdicts:
        factor = common_factor(trials, tolerance)
        if factor is not None:
            return _factor(golden_set.name, factor, trials, tolerance)
    if found := _special(trials, [t.row.verdict == "pass" for t in trials]):
        told = f"equals {golden_set.name} on ordinary batches, differs on: {', '.join(found)}"
        return Relation("ordinary", told, special=found)
    if agreeing and (found := _special(trials, agreeing, ignored=_LENGTHS)):
        return Relation(
            "behind-l2-ordinary", f"{behind} on ordinary batches, differs on: {', '.join(found)}", special=found
        )
    if "error" not in verdicts:
        if all(t.row.loss_error <= 1 for t in trials):
            return Relation("value", "has equal values, another gradient")
        if all(t.row.gradient_error <= 1 for t in trials):
            return Relation("gradient", "has an equal gradient, other values", 1.0)
    return Relation("differs", f"differs from {golden_set.name}")


def _special(trials: Sequence[Trial], equal: Sequence[bool], ignored: str = "") -> tuple[str, ...]:
    """What is special about the cases that are not equal (in any dtype)."""
    bad = {t.case.name: t.case for t, good in zip(trials, equal) if not good}
    return tuple(special(list(bad.values()), [t.case for t in trials if t.case.name not in bad], ignored=ignored))


def _factor(name: str, factor: float, trials: Sequence[Trial], tolerance: dict[str, Tolerance]) -> Relation:
    """Gradient times a factor, and the value with it, without it, or neither."""

    def values(times: float) -> bool:
        return all(
            abs(t.outcome.loss - times * t.row.expected)
            <= abs(times) * tolerance[t.dtype].loss_limit(abs(t.row.expected))
            for t in trials
        )

    if values(factor):
        return Relation("factor", f"equals {name} up to the constant factor {factor:.6g}", factor)
    told = "equal values" if values(1.0) else "other values"
    if abs(factor - 1) < 1e-9:
        return Relation("gradient", f"has an equal gradient, {told}", 1.0)
    return Relation("factor", f"has the gradient of {name} up to the constant factor {factor:.6g}, and {told}", factor)


def common_factor(trials: Sequence[Trial], tolerance: dict[str, Tolerance]) -> float | None:
    """The number c with gradient = c * recorded in every case, to c times the tolerance; None where there is none."""
    pairs = []
    for t in trials:
        expected = t.case.expected[t.dtype]
        pairs.append((t.dtype, flat(expected.gradients), flat(expected.view(t.outcome.gradients))))
    largest = max(pairs, key=lambda p: float(np.abs(p[1]).max(initial=0)))
    norm = float(largest[1] @ largest[1])
    factor = float(largest[1] @ largest[2]) / norm if norm else 0.0
    if factor == 0 or not np.isfinite(factor):
        return None
    for dtype, want, got in pairs:
        # The factor itself carries the rounding of the case that it was measured on: twice the tolerance.
        limit = 2 * abs(factor) * tolerance[dtype].gradient_limit(float(np.abs(want).max(initial=0)))
        if np.abs(got - factor * want).max(initial=0) > limit:
            return None
    return factor


def agree_behind_l2(
    loss: Callable[..., Any],
    golden_set: GoldenSet,
    trials: Sequence[Trial],
    tolerance: dict[str, Tolerance],
    **options: Any,
) -> list[bool]:
    """Of each trial whether loss and formula agree on unit rows: in value, and in the part of the gradient that an L2 layer lets
    through. Empty where they agree nowhere, or where the set is none of embeddings.

    The formula (`golden.references`) stands for the program: it equals the records, and can be run on rows that are units to the
    last digit.
    """
    reference = reference_for(golden_set.family)
    if reference is None or not golden_set.signature.startswith("embeddings*"):
        return []
    layer = normalisation("numpy")
    # Deep_Metric's originals leave the anchor out by s < 1, which on unit rows is decided by rounding: either way counts.
    alike = [frozenset[str]()] + [frozenset({d.key}) for d in reference.deviations if d.key == "near_positives"]
    found: dict[int, bool] = {}
    # The smallest batches first: three of them refute most losses.
    for k, t in sorted(enumerate(trials), key=lambda pair: pair[1].case.arguments[0].array.size):
        if len(found) == 3 and not any(found.values()):
            return []
        x = t.case.arguments[0].array.astype(np.float64)
        arguments = [replace(t.case.arguments[0], array=layer.forward(x)), *t.case.arguments[1:]]
        theirs = evaluate(loss, arguments, dtype=t.dtype, **options)
        models = (
            [compute(reference, golden_set.params, arguments, wrong) for wrong in alike] if not theirs.problem else []
        )
        found[k] = any(_agree(theirs, ours, x, tolerance[t.dtype]) for ours in models)
    return [found[k] for k in range(len(trials))] if any(found.values()) else []


def _agree(theirs: Outcome, ours: Outcome, x: np.ndarray, tolerance: Tolerance) -> bool:
    if ours.problem or not abs(theirs.loss - ours.loss) <= tolerance.loss_limit(abs(ours.loss)):
        return False
    layer = normalisation("numpy")
    pairs = [(layer.backward(x, theirs.gradients[0]), layer.backward(x, ours.gradients[0]))]
    pairs += list(zip(theirs.gradients[1:], ours.gradients[1:]))
    return all(
        np.abs(a - b).max(initial=0) <= tolerance.gradient_limit(float(np.abs(b).max(initial=0))) for a, b in pairs
    )
