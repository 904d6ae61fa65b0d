"""Self-test of the golden sets: known wrong ports, and which case catches which.

A wrong port is a plain reference with one of its deviations switched on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from golden.checker import check_case
from golden.compare import Row
from golden.references import Reference, reference_for
from golden.sets import GoldenSet, load_set

#: Sets whose wrong ports are tried; each must be caught within the set.
SETS = ("rll-cvpr19", "rll-tpami", "osm", "ms", "contrastive-deep-metric", "margin-class-beta", "normsoftmax")
# Deviations that are the set's own setting, or that make no difference at it: another set catches them.
ELSEWHERE = {
    ("ms", "base_half"): "ms-paper",
    ("ms", "beta_40"): "ms-paper",
}
BEGIN, END = "<!-- mutants: begin (python -m golden mutants --write docs/golden.md) -->", "<!-- mutants: end -->"


def wrong_port(reference: Reference, params: dict[str, Any], deviations: frozenset[str]) -> Callable[..., Any]:
    """A loss with the reference's value and gradient; deviations make it wrong, none leaves it right."""

    def loss(*arguments: Any) -> Any:
        value, surrogate = reference.function(arguments, params, deviations)
        return value.detach() + surrogate - surrogate.detach()

    return loss


def rows(golden_set: GoldenSet, deviation: str | None) -> list[Row]:
    """The check of one wrong port (None: the right one) on every case of a set, in float64."""
    reference = reference_for(golden_set.family)
    assert reference is not None, golden_set.family
    port = wrong_port(reference, golden_set.params, frozenset({deviation} if deviation else ()))
    return [check_case(port, case, "float64") for case in golden_set.cases if "float64" in case.expected]


def mutants() -> list[tuple[str, str, str]]:
    """(set, deviation, words) of every wrong port that is tried."""
    found = []
    for name in SETS:
        reference = reference_for(load_set(name).family)
        assert reference is not None
        found += [(ELSEWHERE.get((name, d.key), name), d.key, d.words) for d in reference.deviations]
    return found


def table() -> str:
    """Markdown: a table per set, a row per wrong port, a column per case; `x` where the case catches it."""
    lines: list[str] = []
    all_mutants = mutants()
    caught = 0
    for name in dict.fromkeys(name for name, _, _ in all_mutants):
        golden_set = load_set(name)
        cases = [c.name for c in golden_set.cases if "float64" in c.expected]
        lines += [
            f"### {name}",
            "",
            "| wrong port | " + " | ".join(f"`{c}`" for c in cases) + " |",
            "|---" * (len(cases) + 1) + "|",
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _, key, words in (m for m in all_mutants if m[0] == name):
                marks = ["x" if row.verdict != "pass" else "" for row in rows(golden_set, key)]
                caught += any(marks)
                lines.append(f"| {words} | " + " | ".join(marks) + " |")
        lines.append("")
    return "\n".join([f"{caught} of {len(all_mutants)} wrong ports are caught.", "", *lines]).rstrip() + "\n"


def replace_table(path: Path) -> None:
    """Put the table between the two marks of a Markdown file; ValueError if they are missing."""
    from golden.report import write_atomically

    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{path} must contain the lines {BEGIN} and {END} once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomically(path, f"{before}{BEGIN}\n\n{table()}\n{END}{after}".encode())
