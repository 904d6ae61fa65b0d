"""Which adapter makes a loss fit a set: tried where a check found no equality, and named."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .adapters import ADAPTERS
from .cases import Case
from .compare import Tolerance, compare
from .evaluate import evaluate_case

_WHY = {
    "normalised": "the loss expects unit rows",
    "with-scores": "the scores go to a keyword",
    "without-scores": "the loss takes no scores",
    "with-triplets": "triplets are taken as three index tensors",
    "transposed-proxies": "proxies are (D, C)",
    "pair-matrix": "the loss takes similarities (N, N)",
    "distance-matrix": "the loss takes distances (N, N)",
    "pair-distances": "the loss takes the distances (N,) of pairs",
    "labels-first": "labels come first",
}


def suggest(
    loss: Callable[..., Any],
    cases: Sequence[Case],
    dtype: str,
    tolerance: Tolerance,
    *,
    only_equal: bool,
    **options: Any,
) -> str:
    """A line that names an adapter with which the loss equals the set, or at least runs (unless `only_equal`); "" for none.

    `loss`: as the user gave it, without any adapter.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a loss that is called in the wrong way has much to say
        return _suggest(loss, cases, dtype, tolerance, only_equal, options)


def _suggest(
    loss: Callable[..., Any],
    cases: Sequence[Case],
    dtype: str,
    tolerance: Tolerance,
    only_equal: bool,
    options: dict[str, Any],
) -> str:
    ran = []
    # Small batches, all of which must agree: five separate an adapter from a chance.
    small = sorted((c for c in cases if dtype in c.expected), key=lambda c: c.arguments[0].array.size)[:5]
    for name, adapter in ADAPTERS.items():
        try:
            adapted = adapter(loss)
        except (TypeError, ImportError):  # no such parameter, or another framework's adapter
            continue
        rows = []
        for case in small:
            outcome = evaluate_case(adapted, case, dtype, **options)
            rows.append(compare(case, dtype, outcome, tolerance))
            if rows[-1].verdict == "error" or (only_equal and rows[-1].verdict == "fail"):
                break
        verdicts = {row.verdict for row in rows}
        if verdicts == {"pass"}:
            return f"{_WHY[name]}: with --adapter {name} it equals the set"
        if rows and "error" not in verdicts and not only_equal:
            ran.append(name)
    return f"{_WHY[ran[0]]}? --adapter {ran[0]} gives numbers to compare" if len(ran) == 1 else ""
