"""A badge that says how many cases a loss passes: shields.io's endpoint JSON, or a plain SVG."""

from __future__ import annotations

import json
from html import escape

from .report import Report

_LABEL = "golden"
_COLOURS = {"brightgreen": "#4c1", "yellow": "#dfb317", "red": "#e05d44"}
_WIDTH = 6.6  # pixels a character of 11 px Verdana takes on average
_PAD = 10


def facts(report: Report) -> dict[str, object]:
    """shields.io's endpoint: schemaVersion, label, message, color. Yellow: some cases pass, or the relation is accepted."""
    good = sum(row.verdict == "pass" for row in report.rows)
    whole = good == len(report.rows) and good > 0
    message = f"{good}/{len(report.rows)} {report.against}"
    if report.passed and not whole and report.relation is not None:
        message += f" ({report.relation.kind})"
    colour = "brightgreen" if whole else "yellow" if good or report.passed else "red"
    return {"schemaVersion": 1, "label": _LABEL, "message": message, "color": colour}


def endpoint(report: Report) -> bytes:
    return (json.dumps(facts(report)) + "\n").encode()


def svg(report: Report) -> bytes:
    """A badge that needs no server."""
    told = facts(report)
    label, message = _LABEL, escape(str(told["message"]))
    left, right = (round(_PAD + _WIDTH * len(text)) for text in (label, str(told["message"])))
    colour = _COLOURS[str(told["color"])]
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{label}: {message}">
<title>{label}: {message}</title>
<rect width="{left}" height="20" fill="#555"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/>
<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{left / 2}" y="14">{label}</text><text x="{left + right / 2}" y="14">{message}</text>
</g>
</svg>
""".encode()
