"""Which recorded program is a loss nearest to? Every golden set that it can be called with, ranked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .adapters import fitting
from .batches import kinds
from .cases import GoldenSet
from .checker import chosen_tolerance, compared, name_of
from .diagnosis import diagnose, nearest_form
from .frameworks import framework_of
from .references import reference_for
from .relation import KINDS, Trial
from .report import Report
from .sets import load_set, set_names
from .targets import MATCH, Target

_NEAR = ("equal", "behind-l2", "factor", "ordinary", "behind-l2-ordinary")
_BATCHES = 4  # on which the known forms are compared


def identify(loss: Callable[..., Any], *, device: Any = "cpu", framework: str | None = None) -> list[Report]:
    """Reports on all bundled sets whose arguments the loss takes, in float64, the nearest first.

    Equal sets come first (the one with the most cases before others), then the relations of `golden.relation` in their order, then
    the others by `Report.nearness`: the cosine of the loss's gradient with the nearest known form of the set's loss. Each report is
    short: rows and relation. Where the loss gives numbers on no set at all, the reports on the sets of (embeddings, labels) are
    returned: their rows say why. TypeError for what is not callable, or a class.
    """
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"{loss!r} is no loss: pass a function or an instance")
    options = {"device": device, "framework": framework or framework_of(loss)}
    tolerance = {"float64": chosen_tolerance("float64", None)}
    reports: dict[str, list[Report]] = {}
    fatal = False
    for name in set_names():
        golden_set = load_set(name)
        runs = [(case, "float64") for case in golden_set.cases if "float64" in case.expected]
        known = reports.setdefault(golden_set.signature, [])
        if known and all(row.verdict == "error" for row in known[0].rows):
            continue  # it cannot be called with these arguments
        if fatal:
            break
        fitted = fitting(loss, golden_set.signature)
        report, trials = compared(fitted, golden_set, runs, tolerance, name_of(loss), **options)
        report.nearness, report.form = _nearness(golden_set, report, trials)
        known.append(report)
        fatal = any(trial.outcome.fatal for trial in trials)
    if fatal:  # the row of the last call says why; nothing is ranked
        return [report]
    found = [r for group in reports.values() for r in group if _says_something(r)]
    return sorted(found or reports["embeddings*, labels"], key=_rank)


def _nearness(golden_set: GoldenSet, report: Report, trials: list[Trial]) -> tuple[float, str]:
    """(cosine with the nearest known form, that form's words), on the smallest batches that have nothing special."""
    reference = reference_for(golden_set.family)
    usable = [
        t for t in trials if not t.outcome.problem and t.row.expected_norm > 0 and len(t.case.arguments[0].array) > 4
    ]
    usable.sort(key=lambda t: (len(kinds(t.case)), t.case.arguments[0].array.size))
    targets = [
        Target(t.case, t.outcome.gradients, t.outcome.loss, t.case.expected[t.dtype], MATCH[t.dtype], t.outcome.outputs)
        for t in usable[:_BATCHES]
    ]
    if reference is None or not targets:
        return report.cosine, ""
    cosine, _, words = nearest_form(reference, golden_set.params, targets)
    return cosine, words


def _says_something(report: Report) -> bool:
    """Not a set in which nothing is active (all gradients zero): it is equal to any loss that finds nothing either."""
    some = any(row.verdict != "error" for row in report.rows)
    return some and any(row.expected_norm > 0 for row in report.rows)


def _rank(report: Report) -> tuple[int, float, int, str]:
    kind = report.relation.kind if report.relation else "error"
    # "equal values" of a loss that is zero throughout is no nearness: the cosine decides among what is not equal in some way.
    place = KINDS.index(kind) if kind in _NEAR else len(KINDS)
    # To four digits: forms that rounding alone separates are one, and the set with more cases says more.
    nearness = round(report.nearness, 4) if np.isfinite(report.nearness) else -2.0
    return place, -nearness, -len(report.rows), report.against


def separates(
    loss: Callable[..., Any], report: Report, *, device: Any = "cpu", framework: str | None = None
) -> list[str]:
    """What stands between a loss and a set, in words: the relation, then the diagnosis."""
    told = [report.relation.words] if report.relation and report.relation.kind in _NEAR else []
    golden_set = load_set(report.against)
    fitted = fitting(loss, golden_set.signature)
    return [*told, *diagnose(fitted, golden_set, device=device, framework=framework).lines]
