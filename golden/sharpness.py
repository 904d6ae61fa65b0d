"""Which settings a golden set notices when they are moved by 2 %: what a pass says about a loss, and what it does not.

The set's formula (`golden.references`) is run with one setting moved at a time; a setting is noticed where at least one case that
the right formula passes fails. Settings that no case can notice are listed in `golden.inert`, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .cases import Case, GoldenSet
from .compare import TOLERANCES, Tolerance, compare
from .inert import reason
from .model import compute
from .references import Reference, reference_for

STEP = 0.02  # of the value; a value of 0 is moved by 0.02 itself, a count by 1, a switch is turned


@dataclass(frozen=True)
class Moved:
    """One setting at another value. `by`: in words; `cases`: names of those that notice; `why`: why none does."""

    setting: str
    value: Any
    by: str
    cases: tuple[str, ...]
    why: str = ""


def settings_of(golden_set: GoldenSet, reference: Reference) -> dict[str, Any]:
    """Name -> value of everything that can be moved: the set's own settings and what the original's text fixes."""
    every = {**reference.constants, **golden_set.params}
    switches = {k: bool(v) for k, v in every.items() if k in reference.switches}
    numbers = {k: v for k, v in every.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {**numbers, **switches}


def moves(value: Any, *, count: bool) -> list[tuple[str, Any]]:
    """[(in words, other value)]."""
    if isinstance(value, bool):
        return [("turned", not value)]
    if count and abs(value) * STEP < 1:
        return [("+1", value + 1), ("-1", value - 1)]
    step = abs(value) * STEP if value else STEP
    unit = " %" if value else ""
    size = f"{100 * STEP:g}" if value else f"{STEP:g}"
    return [(f"{sign}{size}{unit}", value + step if sign == "+" else value - step) for sign in "+-"]


def sharpness(
    golden_set: GoldenSet,
    runs: Iterable[tuple[Case, str]] | None = None,
    tolerance: dict[str, Tolerance] | None = None,
    *,
    first: bool = False,
) -> list[Moved]:
    """Every setting moved both ways, on these (case, dtype) pairs; by default every case in float64.

    `first`: stop at the first case that notices. Empty for a set without a reference.
    """
    reference = reference_for(golden_set.family)
    if reference is None:
        return []
    if runs is None:
        runs = [(case, "float64") for case in golden_set.cases if "float64" in case.expected]
    limits = tolerance or TOLERANCES
    # Small batches first: any of them usually tells.
    ordered = sorted(runs, key=lambda run: run[0].arguments[0].array.size)
    right = {}
    found = []
    for setting, value in settings_of(golden_set, reference).items():
        for by, other in moves(value, count=setting in reference.counts):
            params = {**golden_set.params, setting: other}
            names: list[str] = []
            for case, dtype in ordered:
                key = case.name, dtype
                if key not in right:
                    right[key] = _passes(reference, golden_set.params, case, dtype, limits[dtype])
                if right[key] and not _passes(reference, params, case, dtype, limits[dtype]):
                    names.append(case.name)
                    if first:
                        break
            why = "" if names else reason(golden_set, setting, by)
            found.append(Moved(setting, other, by, tuple(dict.fromkeys(names)), why))
    return found


def _passes(reference: Reference, params: dict[str, Any], case: Case, dtype: str, tolerance: Tolerance) -> bool:
    outcome = compute(reference, params, case.arguments, upstream=case.expected[dtype].upstream)
    return compare(case, dtype, outcome, tolerance).verdict == "pass"


def sentences(moved: list[Moved]) -> list[str]:
    """What a check was sharp to, for its last lines."""
    if not moved:
        return []
    by_setting: dict[str, list[Moved]] = {}
    for move in moved:
        by_setting.setdefault(move.setting, []).append(move)
    noticed = [s for s, group in by_setting.items() if all(m.cases for m in group)]
    lines = [f"settings noticed at 2 %: {', '.join(noticed) or 'none'}"]
    for setting, group in by_setting.items():
        for move in group:
            if not move.cases and (len({m.why for m in group if not m.cases}) > 1 or move is _first_silent(group)):
                by = "" if not any(m.cases for m in group) else f" {move.by}"
                lines.append(f"not noticed: {setting}{by} ({move.why or 'by none of these cases'})")
    return lines


def _first_silent(group: list[Moved]) -> Moved:
    return next(m for m in group if not m.cases)
