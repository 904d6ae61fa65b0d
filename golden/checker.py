"""`check`: a loss against a golden set."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import adapters
from .compare import TOLERANCES, Row, Tolerance, compare
from .diagnosis import diagnose
from .evaluate import dtype_name, evaluate
from .frameworks import framework_of
from .frameworks.differences import BY_DIFFERENCES
from .properties import properties as find_properties
from .records import load_record
from .report import Report
from .sets import Case, GoldenSet, describe, load_set, set_names
from .sharpness import sentences, sharpness


def resolve(against: str | os.PathLike[str] | GoldenSet) -> GoldenSet:
    """A set by name; or a user's own record by its folder or .json file. KeyError or FileNotFoundError with what was tried."""
    if isinstance(against, GoldenSet):
        return against
    text = os.fspath(against)
    if text in set_names():
        return load_set(text)
    if os.sep in text or Path(text).exists():
        return load_record(text)
    return load_set(text)


def name_of(loss: Any) -> str:
    """How a report calls the loss."""
    for attribute in ("__name__", "name"):
        if isinstance(getattr(loss, attribute, None), str):
            return str(getattr(loss, attribute))
    function = getattr(loss, "func", None)
    return name_of(function) if function is not None else type(loss).__name__


def chosen_tolerance(dtype: str, tolerance: float | Tolerance | None) -> Tolerance:
    if tolerance is None:
        return TOLERANCES[dtype]
    if not isinstance(tolerance, Tolerance) and not float(tolerance) >= 0:
        raise ValueError(f"a tolerance is not negative, got {tolerance!r}")
    return tolerance if isinstance(tolerance, Tolerance) else replace(TOLERANCES[dtype], rtol=float(tolerance))


def check_case(
    loss: Callable[..., Any],
    case: Case,
    dtype: str,
    *,
    device: Any = "cpu",
    tolerance: float | Tolerance | None = None,
    framework: str | None = None,
) -> Row:
    """One row: the loss on one case."""
    expected = case.expected[dtype]
    outcome = evaluate(
        loss, case.arguments, dtype=dtype, device=device, upstream=expected.upstream, framework=framework,
        outputs=tuple(expected.outputs),
    )  # fmt: skip
    return compare(case, dtype, outcome, chosen_tolerance(dtype, tolerance))


def check(
    loss: Callable[..., Any],
    against: str | os.PathLike[str] | GoldenSet = "rll-cvpr19",
    *,
    dtype: Any = "float64",
    device: Any = "cpu",
    tolerance: float | Tolerance | None = None,
    adapter: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    cases: Sequence[str] | None = None,
    framework: str | None = None,
    properties: bool = True,
    diagnosis: bool = True,
) -> Report:
    """Compare a loss with a golden set, value and gradient, case by case.

    loss : any callable or nn.Module `(embeddings (N, D), labels (N,)) -> scalar`; other sets have other arguments (see
        `golden list`). Where a set brings scores, a parameter named `scores` or `attention` gets them; triplets go to
        `indices_tuple` as three index tensors; class proxies or boundaries take the place of a module's own parameter.
    against : name of a golden set, or a folder that `golden record` wrote.
    dtype : float64 (default), float32, or "both".
    tolerance : rtol in place of the standard one (float64 1e-10, float32 1e-5; of the loss, and of the gradient's largest entry).
    adapter : one of `golden.adapters`, or a function from loss to loss.
    cases : names or patterns (`dup_*`) of the cases to run; all by default.
    framework : "torch", "jax", "tensorflow" or "numpy"; by default what the loss is written in (see `golden.frameworks`).
    diagnosis : when a case fails, look for the deviation that explains it (a few seconds).

    Raises TypeError for a class in place of an instance, KeyError for an unknown set, ValueError where no case is left.
    What the loss itself does wrong never raises: it is a row of the report.
    """
    if isinstance(loss, type):
        raise TypeError(f"{loss.__name__} is a class: pass an instance, such as {loss.__name__}()")
    if not callable(loss):
        raise TypeError(f"a loss must be callable, got {type(loss).__name__}")
    golden_set = resolve(against)
    called = name_of(loss)
    framework = framework or framework_of(loss)
    loss = adapter(loss) if adapter is not None else adapters.fitting(loss, golden_set.signature)
    dtypes = golden_set.dtypes if dtype == "both" else (dtype_name(dtype),)
    picked = [c for c in golden_set.cases if cases is None or any(fnmatch.fnmatch(c.name, p) for p in cases)]
    runs = [(case, d) for d in dtypes for case in picked if d in case.expected]
    if not runs:
        raise ValueError(
            f"{golden_set.name} has no case for dtype {dtype} and cases {cases}; it has {golden_set.dtypes}"
        )
    options: dict[str, Any] = {"device": device, "framework": framework}
    rows = [check_case(loss, case, d, tolerance=tolerance, **options) for case, d in runs]
    tolerances = {d: chosen_tolerance(d, tolerance) for d in dtypes}
    limits = ", ".join(f"{d}: {t.rtol:g} relative + {t.atol:g}" for d, t in tolerances.items())
    report = Report(golden_set.name, golden_set.what, golden_set.program, golden_set.kind, called, limits, rows)
    report.sharpness = sentences(sharpness(golden_set, runs, tolerances, first=True))
    if properties:
        report.properties = find_properties(loss, picked[0].arguments, **options)
    if diagnosis and not report.passed:
        # Finite differences cost four calls an entry: they are not made again on batches that were not asked for.
        slow = any(BY_DIFFERENCES in row.why for row in rows)
        report.diagnosis = diagnose(loss, replace(golden_set, cases=tuple(picked)) if slow else golden_set, **options)
    return report


def sweep(factory: Callable[..., Any], against: str = "rll-cvpr19*", **options: Any) -> dict[str, Report]:
    """`check(factory(**set's parameters))` for every bundled set whose name matches the pattern.

    The parameters have the released names (margin, pn_margin, T_p, T_n, ...; `describe(name)["params"]`).
    """
    names = [name for name in set_names() if fnmatch.fnmatch(name, against)]
    if not names:
        raise KeyError(f"no golden set matches {against!r}")
    return {name: check(factory(**describe(name)["params"]), name, **options) for name in names}


def identify(loss: Callable[..., Any], *, device: Any = "cpu", framework: str | None = None) -> list[Report]:
    """Check a loss of (embeddings, labels) against every bundled set of that signature, in float64; best first.

    Says which recorded program it equals, if any; each report is short (no properties, no diagnosis).
    """
    names = [name for name in set_names() if describe(name)["signature"] == "embeddings*, labels"]
    reports = [
        check(loss, name, device=device, framework=framework, properties=False, diagnosis=False) for name in names
    ]
    # A set in which nothing is active (all gradients zero) is equal to any loss that finds nothing either.
    reports = [report for report in reports if any(row.expected_norm > 0 for row in report.rows)]
    return sorted(reports, key=lambda r: (-sum(row.verdict == "pass" for row in r.rows) / len(r.rows), r.against))
