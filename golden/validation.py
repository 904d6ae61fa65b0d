"""What a contributed golden set must show before it is added."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .batches import kinds
from .cases import Case, GoldenSet
from .compare import TOLERANCES, compare
from .contributed import CASES, SET, ContributionError, assemble, checked
from .evaluate import Outcome, evaluate
from .frameworks.differences import RTOL, by_differences
from .records import read_npz
from .sharpness import moves

_LARGEST_FILE, _LARGEST_BATCH, _FEWEST = 1_000_000, 200, 4
_DIFFERENCES = 300  # entries up to which a gradient is compared with finite differences


def read(folder: Path) -> tuple[dict[str, Any], GoldenSet]:
    """(what set.json says, the set) of a folder. ContributionError, with the file's name, where it is none of this format."""
    try:
        facts = checked(json.loads((folder / SET).read_text(encoding="utf-8")), folder / SET)
        arrays = read_npz(folder / CASES)
    except ContributionError:
        raise
    except (Exception, RecursionError) as error:  # strangers' files: json, zipfile and NumPy have many kinds
        raise ContributionError(f"{folder}: cannot be read ({type(error).__name__}: {error})") from None
    return facts, assemble(facts, arrays, folder / CASES)


def problems(folder: Path, formula: Callable[..., Any]) -> list[str]:
    """What keeps a set from being added, a line each; empty for a sound one.

    formula : the loss in NumPy, `(arguments of the set, **params) -> (value, gradient)`; it must equal every case, and each of its
        settings moved by 2 % (a count by 1) must be noticed by a case, or be listed under "inert" with a reason.
    """
    facts, golden_set = read(folder)
    found = [
        f"{path.name} has {path.stat().st_size:,} bytes; at most {_LARGEST_FILE:,} are taken"
        for path in (folder / SET, folder / CASES)
        if path.stat().st_size > _LARGEST_FILE
    ]
    if len(golden_set.cases) < _FEWEST:
        found.append(f"{len(golden_set.cases)} cases; at least {_FEWEST} are needed")
    for case in golden_set.cases:
        found += _case_problems(case)
    if found:
        return found
    if all(kinds(case) for case in golden_set.cases):
        found.append("no ordinary batch: unit rows, and two samples or more in each class")
    if not any(kinds(case) for case in golden_set.cases):
        found.append("only ordinary batches: no duplicates, no class alone, no rows of other lengths")
    found += [f"{case.name}: {why}" for case in golden_set.cases if (why := _differs(case, formula, facts["params"]))]
    if not found:
        found += _silent(golden_set, formula, facts)
        found += _not_derivative(golden_set, formula, facts)
    return found


def _case_problems(case: Case) -> list[str]:
    found = []
    if "float64" not in case.expected or set(case.expected) - {"float64", "float32"}:
        found.append(
            f"{case.name}: recorded in {', '.join(case.expected) or 'nothing'}; float64 is needed, float32 may be added"
        )
    if len(case.arguments[0].array) > _LARGEST_BATCH:
        found.append(f"{case.name}: {len(case.arguments[0].array)} rows; at most {_LARGEST_BATCH} are taken")
    for argument in case.arguments:
        if not np.isfinite(argument.array).all():
            found.append(f"{case.name}: {argument.name} is not finite")
    for dtype, expected in case.expected.items():
        if not np.isfinite(expected.loss) or not all(np.isfinite(g).all() for g in expected.gradients):
            found.append(f"{case.name}, {dtype}: the recorded numbers are not finite")
    return found


def _run(case: Case, formula: Callable[..., Any], params: dict[str, Any], dtype: str) -> Outcome:
    return evaluate(lambda *arrays: formula(*arrays, **params), case.arguments, dtype=dtype, framework="numpy")


def _differs(case: Case, formula: Callable[..., Any], params: dict[str, Any]) -> str:
    """Why the formula does not give a case's record; "" where it does."""
    row = compare(case, "float64", _run(case, formula, params, "float64"), TOLERANCES["float64"])
    return "" if row.verdict == "pass" else f"the formula does not give the recorded numbers ({row.why})"


def _silent(golden_set: GoldenSet, formula: Callable[..., Any], facts: dict[str, Any]) -> list[str]:
    """Settings that no case notices."""
    found = []
    counts = facts.get("counts", [])
    for setting, value in facts["params"].items():
        if not isinstance(value, int | float):
            continue
        for by, other in moves(value, count=setting in counts):
            params = {**facts["params"], setting: other}
            if not any(_differs(case, formula, params) for case in golden_set.cases) and not facts["inert"].get(
                setting
            ):
                found.append(
                    f"{setting} moved by {by} to {other:g} is noticed by no case; add one, or say why under 'inert'"
                )
    return found


def _not_derivative(golden_set: GoldenSet, formula: Callable[..., Any], facts: dict[str, Any]) -> list[str]:
    """Cases whose recorded gradient is not the value's derivative, unless the set says so."""
    if facts.get("gradient", "derivative") != "derivative":
        return []
    found = []
    for case in golden_set.cases:
        if sum(a.array.size for a in case.arguments if a.differentiable) > _DIFFERENCES:
            continue

        def value(*arrays: Any) -> Any:
            return formula(*arrays, **facts["params"])[0]

        try:
            slopes = by_differences(value, case.arguments, (), 1.0)
        except Exception as error:
            found.append(f"{case.name}: {error}")
            continue
        for slope, recorded in zip(slopes, case.expected["float64"].gradients):
            if np.abs(slope - recorded).max() > RTOL * max(float(np.abs(recorded).max()), 1e-9):
                found.append(
                    f'{case.name}: the recorded gradient is not the value\'s derivative; say so with "gradient": "as released"'
                )
    return found
