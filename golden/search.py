"""The search for a combination of deviations that reproduces a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from .cases import Case
from .compare import flat
from .model import compute
from .references import Reference
from .targets import Target

_WIDTH, _DEPTH = 4, 6
_ROUNDING = 1e-12  # errors below are rounding: a deviation that only moves the error below it is not named


@dataclass(frozen=True)
class Result:
    """`error`: largest relative error over the cases; `direction_error`: the same after one common factor;
    `loss_error`: that of the reported loss; `errors`: the gradient's by case.
    """

    deviations: frozenset[str]
    error: float
    direction_error: float
    factor: float
    loss_error: float
    errors: tuple[float, ...]


def model(
    reference: Reference, params: dict[str, Any], case: Case, deviations: frozenset[str]
) -> tuple[float, np.ndarray]:
    """(reported loss, flat gradient for upstream 1) of the plain reference."""
    outcome = compute(reference, params, case.arguments, deviations)
    return outcome.loss, flat(outcome.gradients)


class _Scorer:
    def __init__(self, reference: Reference, params: dict[str, Any], targets: list[Target]) -> None:
        self.reference, self.params, self.targets = reference, params, targets
        self.known: dict[frozenset[str], Result] = {}

    def __call__(self, deviations: frozenset[str]) -> Result:
        if deviations not in self.known:
            got = [flat(t.gradients) for t in self.targets]
            models = [model(self.reference, self.params, t.case, deviations) for t in self.targets]
            loss_error = max(abs(v - t.loss) / max(abs(t.loss), 1e-12) for (v, _), t in zip(models, self.targets))
            sizes = [max(np.abs(g).max(initial=0), 1e-300) for g in got]
            scaled = [
                (np.nan_to_num(m * t.upstream / s, nan=1e9), g / s)
                for (_, m), g, s, t in zip(models, got, sizes, self.targets)
            ]
            errors = tuple(float(np.abs(m - g).max()) for m, g in scaled)
            # Where the user's gradient is zero and the model's is not, the quotient is astronomic: it must not overflow.
            bounded = [(np.clip(m, -1e100, 1e100), g) for m, g in scaled]
            norm = sum(m @ m for m, _ in bounded)
            factor = sum(m @ g for m, g in bounded) / norm if norm > 0 else 0.0
            direction = max(np.abs(factor * m - g).max() for m, g in bounded)
            self.known[deviations] = Result(
                deviations, max(errors), float(direction), float(factor), float(loss_error), errors
            )
        return self.known[deviations]


def score(reference: Reference, params: dict[str, Any], targets: list[Target], deviations: frozenset[str]) -> Result:
    """How near the reference with these deviations comes to what the user's loss gave."""
    return _Scorer(reference, params, targets)(deviations)


def _allowed(reference: Reference, deviations: frozenset[str]) -> bool:
    return all(len(deviations & group) <= 1 for group in reference.exclusive)


def search(
    reference: Reference, params: dict[str, Any], targets: list[Target], match: float, *, singles_only: bool = False
) -> Result:
    """The fewest deviations that reproduce the gradients; the nearest combination tried if none does.

    In order: each alone, known forms, pairs, then a beam that adds one at a time. Scored on the two most telling batches,
    confirmed on all; what explains those two but not some other batch is returned too.
    """
    informative = sorted(targets, key=lambda t: -len(np.unique(flat(t.gradients).round(12))))
    quick, full = _Scorer(reference, params, informative[:2]), _Scorer(reference, params, targets)
    keys = [d.key for d in reference.deviations if d.changes != "loss"]
    loss_only = frozenset(d.key for d in reference.deviations if d.changes == "loss")

    def confirmed(candidates: list[frozenset[str]]) -> Result | None:
        # Of those with the right gradient the one with the right loss too: two deviations may have one gradient.
        ranked = sorted(
            {quick(c) for c in candidates if _allowed(reference, c)},
            key=lambda r: (r.error >= match, r.loss_error >= match, r.error, len(r.deviations)),
        )
        passing = [result for result in ranked if result.error < match]
        for result in passing:
            if full(result.deviations).error < match:
                return _pruned(full, _refined(full, result, singles).deviations)
        if passing:
            result = passing[0]
            close = [full(c) for c in [result.deviations, *(result.deviations ^ s for s in singles)]]
            best = next((r for r in close if r.error < match), None)
            if best is not None:
                return _pruned(full, _refined(full, best, singles).deviations)
            # Two batches explained by chance do not happen: what is left concerns the other batches only.
            return min(close, key=lambda r: (sum(e >= match for e in r.errors), r.error))
        return None

    empty: frozenset[str] = frozenset()
    singles = [frozenset({k}) for k in keys]
    presets = [preset - loss_only for preset in reference.presets.values()]
    near_presets = [p ^ s for p in presets for s in singles]
    steps = [[empty, *singles], presets, near_presets, [a | b for a, b in combinations(singles, 2)]]
    for candidates in steps[:1] if singles_only else steps:
        if result := confirmed(candidates):
            return result
    beam: list[frozenset[str]] = [empty]
    for _ in range(0 if singles_only else _DEPTH):
        grown = {b | s for b in beam for s in singles if not s <= b and _allowed(reference, b | s)}
        if not grown:
            break
        if result := confirmed(list(grown)):
            return result
        # Half by distance, half by direction: a missing factor hides how near a combination is.
        by_error = sorted(grown, key=lambda c: quick(c).error)[:_WIDTH]
        by_direction = sorted(grown, key=lambda c: quick(c).direction_error)[:_WIDTH]
        beam = list(dict.fromkeys([*by_error, *by_direction]))
    nearest = min(quick.known.values(), key=lambda r: (round(min(r.error, r.direction_error), 6), len(r.deviations)))
    return full(nearest.deviations)


def search_settings(
    reference: Reference, params: dict[str, Any], targets: list[Target], match: float, *, loss_too: bool
) -> dict[str, Any]:
    """Other settings with which the right formula gives the user's gradients (and reported losses, if `loss_too`); empty if
    none of the usual ones does.
    """

    def explains(together: dict[str, Any], some: list[Target]) -> bool:
        result = _Scorer(reference, together, some)(frozenset())
        return result.error < match and (result.loss_error < match or not loss_too)

    informative = sorted(targets, key=lambda t: -len(np.unique(flat(t.gradients).round(12))))
    candidates = [dict(zip(reference.settings, values)) for values in product(*reference.settings.values())]
    # The nearest first: one changed setting before two.
    candidates.sort(key=lambda c: sum(c[k] != params.get(k) for k in c))
    for candidate in candidates:
        changed = {k: v for k, v in candidate.items() if v != params.get(k)}
        together = {**params, **candidate}
        batches = (informative[:1], targets)  # one batch refutes most candidates
        if changed and all(explains(together, some) for some in batches):
            return changed
    return {}


def _refined(score: _Scorer, best: Result, singles: list[frozenset[str]]) -> Result:
    """With the small deviations (settings as doubles, other epsilons) that bring the error down to rounding."""
    while best.error > _ROUNDING:
        grown = [score(best.deviations | s) for s in singles if _allowed(score.reference, best.deviations | s)]
        better = min(grown, key=lambda r: r.error)
        if better.error > best.error / 3:
            break
        best = better
    return best


def _pruned(score: _Scorer, deviations: frozenset[str]) -> Result:
    """Without the deviations that make no difference."""
    best = score(deviations)
    for key in sorted(deviations):
        fewer = score(best.deviations - {key})
        if fewer.error <= 2 * best.error + _ROUNDING:
            best = fewer
    return best
