"""Expected against got as a picture: the losses, and each case's gradient error beside its tolerance."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .report import Report

_FLOOR = 1e-7  # an error of 0 has no place on a logarithmic axis


def picture(report: Report) -> bytes:
    """PNG bytes. Left: loss got over loss expected, with the allowed error as bars. Right: gradient errors in tolerances."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = report.rows
    figure = Figure(figsize=(11, 1.6 + 0.28 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    good, bad, none = "#2a7f3f", "#c0392b", "#7f7f7f"

    expected = np.array([row.expected for row in rows])
    got = np.array([row.got for row in rows])
    allowed = np.array(
        [
            abs(r.got - r.expected) / r.loss_error if np.isfinite(r.loss_error) and r.loss_error > 0 else 0.0
            for r in rows
        ]
    )
    limits = [*expected[np.isfinite(expected)], *got[np.isfinite(got)]]
    left.plot([min(limits), max(limits)], [min(limits), max(limits)], color="#999999", lw=0.8)
    for row, e, g, a in zip(rows, expected, got, allowed):
        if np.isfinite(g):
            left.errorbar(e, g, yerr=a, fmt="o", ms=4, color=good if row.loss_error <= 1 else bad, capsize=2)
    left.set(xlabel="loss expected", ylabel="loss got", title="loss")

    for k, row in enumerate(rows):
        if np.isfinite(row.gradient_error):
            colour = good if row.gradient_error <= 1 else bad
            right.barh(k, max(row.gradient_error, _FLOOR), left=_FLOOR / 10, color=colour)
        else:
            right.text(_FLOOR, k, row.why[:60], va="center", fontsize=7, color=none)
    right.axvline(1, color="black", lw=1)
    right.set(xscale="log", xlabel="largest gradient error / tolerance (pass: left of the line)", title="gradient")
    right.set_xlim(_FLOOR / 10, max([10.0, *(2 * r.gradient_error for r in rows if np.isfinite(r.gradient_error))]))
    right.set_yticks(range(len(rows)), [f"{row.case} f{row.dtype[-2:]}" for row in rows], fontsize=7)
    right.invert_yaxis()
    figure.suptitle(report.headline, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
