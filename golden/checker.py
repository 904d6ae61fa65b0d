"""`check`: a loss against a golden set."""

from __future__ import annotations

import difflib
import fnmatch
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import adapters
from .cases import Case, GoldenSet
from .compare import TOLERANCES, Row, Tolerance, compare
from .compiled import changes
from .diagnosis import Diagnosis, diagnose
from .evaluate import Outcome, dtype_name, evaluate_case
from .frameworks import framework_of
from .frameworks.differences import BY_DIFFERENCES
from .properties import properties as find_properties
from .records import load_record
from .relation import KINDS, Trial, relate
from .report import Report
from .sets import describe, load_set, set_names
from .sharpness import sentences, sharpness
from .suggest import suggest


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
    return _trial(loss, case, dtype, chosen_tolerance(dtype, tolerance), device=device, framework=framework).row


def _trial(loss: Callable[..., Any], case: Case, dtype: str, tolerance: Tolerance, **options: Any) -> Trial:
    outcome = evaluate_case(loss, case, dtype, **options)
    return Trial(case, dtype, outcome, compare(case, dtype, outcome, tolerance))


def _repeatable(loss: Callable[..., Any], trials: list[Trial], **options: Any) -> bool:
    """Whether the first batch that gave numbers gives them again."""
    first = next((t for t in trials if not t.outcome.problem), None)
    if first is None:
        return True
    again = evaluate_case(loss, first.case, first.dtype, **options)
    # Threads may add in another order: what differs by rounding is repeatable here.
    return not again.problem and abs(again.loss - first.outcome.loss) <= 1e-6 * abs(first.outcome.loss) + 1e-12


def compared(
    loss: Callable[..., Any], golden_set: GoldenSet, runs: Sequence[tuple[Case, str]], tolerances: dict[str, Tolerance],
    called: str, **options: Any,
) -> tuple[Report, list[Trial]]:  # fmt: skip
    """A report of the rows and of how loss and set are related, without anything that takes long; and what it was made from."""
    trials: list[Trial] = []
    for case, d in runs:
        if any(trial.outcome.fatal for trial in trials):
            outcome = Outcome(problem="not run after that", fatal=True)
            trials.append(Trial(case, d, outcome, compare(case, d, outcome, tolerances[d])))
        else:
            trials.append(_trial(loss, case, d, tolerances[d], **options))
    limits = ", ".join(f"{d}: {t.rtol:g} relative + {t.atol:g}" for d, t in tolerances.items())
    rows = [trial.row for trial in trials]
    report = Report(golden_set.name, golden_set.what, golden_set.program, golden_set.kind, called, limits, rows)
    report.relation = relate(loss, golden_set, trials, tolerances, **options)
    return report, trials


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
    accept: Sequence[str] = (),
    compile: bool = False,
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
    accept : relations that pass too, of `golden.relation.KINDS`: "behind-l2", "factor", ...
    compile : run a torch loss under torch.compile as well, and say what that changes; a change beyond the tolerance fails.
    diagnosis : when a case fails, look for the deviation that explains it (a few seconds).

    Raises TypeError for a class in place of an instance, KeyError for an unknown set, ValueError where no case is left.
    What the loss itself does wrong never raises: it is a row of the report.
    """
    if unknown := set(accept) - set(KINDS):
        raise ValueError(f"accept knows no {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if isinstance(loss, type):
        raise TypeError(f"{loss.__name__} is a class: pass an instance, such as {loss.__name__}()")
    if not callable(loss):
        raise TypeError(f"a loss must be callable, got {type(loss).__name__}")
    if compile and (framework or framework_of(loss)) != "torch":
        raise ValueError(f"torch.compile is for torch losses, this one is {framework or framework_of(loss)}")
    golden_set = resolve(against)
    called = name_of(loss)
    framework = framework or framework_of(loss)
    plain = loss
    loss = adapter(loss) if adapter is not None else adapters.fitting(loss, golden_set.signature)
    dtypes = golden_set.dtypes if dtype == "both" else (dtype_name(dtype),)
    picked = [c for c in golden_set.cases if cases is None or any(fnmatch.fnmatch(c.name, p) for p in cases)]
    runs = [(case, d) for d in dtypes for case in picked if d in case.expected]
    if not runs:
        raise ValueError(no_case(golden_set, dtype, cases))
    options: dict[str, Any] = {"device": device, "framework": framework}
    tolerances = {d: chosen_tolerance(d, tolerance) for d in dtypes}
    report, trials = compared(loss, golden_set, runs, tolerances, called, **options)
    report.accept = tuple(accept)
    if any(trial.outcome.fatal for trial in trials):
        return report
    if compile:
        report.compiled_equal, report.compiled = changes(loss, trials, tolerances, **options)
    report.sharpness = sentences(sharpness(golden_set, runs, tolerances, first=True))
    if properties:
        report.properties = find_properties(loss, picked[0].arguments, **options)
    if diagnosis and any(row.verdict != "pass" for row in report.rows):
        if not _repeatable(loss, trials, **options):
            report.diagnosis = Diagnosis(
                ["two calls on one batch differ: the loss draws random numbers, or keeps a state"]
            )
            return report
        # Finite differences cost four calls an entry: they are not made again on batches that were not asked for.
        slow = any(BY_DIFFERENCES in row.why for row in report.rows)
        report.diagnosis = diagnose(loss, replace(golden_set, cases=tuple(picked)) if slow else golden_set, **options)
        if adapter is None and report.relation is not None and report.relation.kind in ("differs", "error", "value"):
            told = report.relation.kind != "error"
            report.hint = suggest(plain, picked, dtypes[0], tolerances[dtypes[0]], only_equal=told, **options)
    return report


def no_case(golden_set: GoldenSet, dtype: Any, patterns: Sequence[str] | None) -> str:
    """Why nothing is left of a set: no case of these names, or none of them in that precision."""
    names = [case.name for case in golden_set.cases]
    if any(fnmatch.fnmatch(name, pattern) for name in names for pattern in patterns or ["*"]):
        return f"{golden_set.name} has no case in {dtype}, only in {' and '.join(golden_set.dtypes)}"
    close = difflib.get_close_matches((patterns or [""])[0], names, n=3, cutoff=0.4) or names[:3]
    return (
        f"{golden_set.name} has no case named {' or '.join(map(repr, patterns or []))}; its {len(names)} cases are named like "
        f"{', '.join(close)}, and patterns such as '{names[0][:3]}*' choose among them"
    )


def sweep(factory: Callable[..., Any], against: str = "rll-cvpr19*", **options: Any) -> dict[str, Report]:
    """`check(factory(**set's parameters))` for every bundled set whose name matches the pattern.

    The parameters have the released names (margin, pn_margin, T_p, T_n, ...; `describe(name)["params"]`).
    """
    names = [name for name in set_names() if fnmatch.fnmatch(name, against)]
    if not names:
        raise KeyError(f"no golden set matches {against!r}")
    return {name: check(factory(**describe(name)["params"]), name, **options) for name in names}
