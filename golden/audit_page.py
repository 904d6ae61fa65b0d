"""The table of an audit, as text, as a page and as a picture."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

from .audit import Finding, libraries, mapping
from .sets import describe

_WORDS = {
    "equal": "equals",
    "behind-l2": "equals behind L2",
    "behind-l2-ordinary": "equals behind L2 on ordinary batches",
    "ordinary": "equals on ordinary batches",
    "factor": "equals up to a factor",
    "value": "other gradient",
    "gradient": "other value",
    "differs": "differs",
    "error": "no numbers",
}
_HEAD = ("library", "loss", "compared with", "float64", "float32", "cosine", "norm ratio", "what separates them")
_INTRO = """# What libraries' losses compute

Each loss of an installed library that could be one of the losses whose authors' programs were recorded, compared with those records:
value and gradient, in every case. The same formula has many readings, and a library may choose another one on purpose; the table says
what each computes, not which is better.

- *equals*: every case, within 1e-10 (float64) or 1e-5 (float32). *Behind L2*: on unit rows, with the gradient led through the layer that
  normalises them; what normalises inside is that to a release which is fed by such a layer.
- *Cosine* and *norm ratio*: of the gradient with the recorded one, medians over the cases in float64 (in float32 where the loss gives no
  numbers in float64).
- *What separates them*: the known deviations that reproduce the loss's gradient; else the nearest known form.

Made by `python -m golden audit LIBRARY ... --write docs/audit.md`, which anybody can run; which class with which arguments stands for
what is in `golden/mappings`.
"""


def grouped(findings: Sequence[Finding]) -> list[tuple[Finding, Finding | None]]:
    """(float64, float32 or None) for each loss and set. The first has the second's cosine and norm ratio where it has no numbers."""
    second = {(f.library, f.loss, f.against): f for f in findings if f.dtype == "float32"}
    found = []
    for double in (f for f in findings if f.dtype == "float64"):
        single = second.get((double.library, double.loss, double.against))
        if double.cosine is None and single is not None:
            double = replace(double, cosine=single.cosine, norm_ratio=single.norm_ratio)
        found.append((double, single))
    return found


def _verdict(finding: Finding | None) -> str:
    if finding is None:
        return "-"
    return f"{_WORDS[finding.kind]} ({finding.passed} of {finding.cases})" if finding.cases else _WORDS[finding.kind]


def rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Header and cells."""
    found: list[tuple[str, ...]] = [_HEAD]
    for double, single in grouped(findings):
        numbers = [
            f"{n:.{digits}g}" if n is not None else "-" for n, digits in ((double.cosine, 4), (double.norm_ratio, 3))
        ]
        words = "; ".join(w for w in (double.how, double.note) if w)
        library = f"{double.library} {double.version}".strip()
        found.append((library, double.loss, double.against, _verdict(double), _verdict(single), *numbers, words))
    return found


def page(findings: Sequence[Finding], picture: str = "") -> str:
    """Markdown. `picture`: the name of its file, beside the page."""
    head, *body = rows(findings)
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    table += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in body]
    near = sum(f.kind in ("equal", "behind-l2") for f, _ in grouped(findings))
    count = f"{near} of {len(body)} comparisons are equal, or equal behind an L2 layer."
    sets = sorted({f.against for f in findings})
    told = [f"- `{name}`: {describe(name)['what']} ({describe(name)['program']})" for name in sets]
    shown = [f"![Cosine against norm ratio of the gradients]({picture})", ""] if picture else []
    used = {f.library for f in findings}
    runs = {whole["library"]: whole["runs"] for whole in map(mapping, libraries()) if "runs" in whole}
    where = [f"- {name}: {words}" for name, words in runs.items() if name in used]
    where = ["## Where they ran", "", *where, ""] if where else []
    return "\n".join([_INTRO, count, "", *shown, *table, "", *where, "## The records", "", *told]) + "\n"


def verdicts(text: str) -> list[tuple[str, ...]]:
    """(library without its version, loss, set, float64's verdict, float32's) of each row of a page."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [(re.sub(r" \d\S*$", "", row[0]), *row[1:5]) for row in cells]


def picture(findings: Sequence[Finding]) -> bytes:
    """SVG: each loss's gradient beside the recorded one, by direction (cosine) and length (norm ratio)."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    shown = [f for f, _ in grouped(findings) if f.cosine is not None and f.norm_ratio]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.axhline(1, color="#bbbbbb", lw=0.8)
    axes.axvline(1, color="#bbbbbb", lw=0.8)
    for name, marker in zip(dict.fromkeys(f.library for f in shown), cycle("osD^vPX*")):
        mine = [f for f in shown if f.library == name]
        axes.scatter(
            [f.cosine or 0 for f in mine], [f.norm_ratio or 1 for f in mine], marker=marker, s=36, alpha=0.8, label=name
        )
    at: dict[tuple[float, float], list[int]] = {}  # numbers of the losses that lie on one another
    for number, f in enumerate(shown, 1):
        place = (round((f.cosine or 0) / 0.03), round(math.log10(f.norm_ratio or 1) / 0.1))
        at.setdefault(place, []).append(number)
    for numbers in at.values():
        f = shown[numbers[0] - 1]
        told = "\n".join(", ".join(map(str, numbers[i : i + 4])) for i in range(0, len(numbers), 4))
        axes.annotate(told, (f.cosine or 0, f.norm_ratio or 1), xytext=(5, 5), textcoords="offset points", fontsize=7)
    told = "\n".join(f"{n} {f.loss} / {f.against}" for n, f in enumerate(shown, 1))
    figure.text(1.01, 0.5, told, fontsize=6.5, va="center")
    axes.set(
        yscale="log",
        xlabel="cosine with the recorded gradient (median)",
        ylabel="length over the recorded one (median)",
    )
    axes.legend(fontsize=8, loc="best")
    buffer = io.BytesIO()
    # Without these the file would differ at every run.
    with matplotlib.rc_context({"svg.hashsalt": "golden"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return buffer.getvalue()
