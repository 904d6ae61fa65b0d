"""A row of the chain: what a link was compared with, its largest error, the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

HOLDS = ("verified on recorded data", "rule verified")


@dataclass(frozen=True)
class Row:
    link: str
    reference: str
    compared: str
    worst: float | None
    tolerance: float | None
    verdict: str

    def as_cells(self) -> dict[str, str]:
        return {
            "link": self.link,
            "reference": self.reference,
            "compared": self.compared,
            "worst error": "-" if self.worst is None else f"{self.worst:.2g}",
            "tolerance": "-" if self.tolerance is None else f"{self.tolerance:.0e}" if self.tolerance else "0",
            "verdict": self.verdict,
        }


def recorded(link: str, reference: str, compared: str, worst: float, tolerance: float) -> Row:
    """A link that was compared with a recording: verified, or wrong by how much."""
    good = math.isfinite(worst) and worst <= tolerance
    return Row(link, reference, compared, worst, tolerance, "verified on recorded data" if good else "WRONG")


def rule_checked(link: str, reference: str, compared: str, worst: float, tolerance: float) -> Row:
    """A link whose own recording does not exist: held to the rule that was read, or to the nearest recording there is."""
    row = recorded(link, reference, compared, worst, tolerance)
    return row if row.verdict == "WRONG" else replace(row, verdict="rule verified")


def unverified(link: str, reference: str, missing: str) -> Row:
    return Row(link, reference, "-", None, None, missing)
