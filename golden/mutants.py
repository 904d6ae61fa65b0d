"""Self-test of the golden sets: known wrong ports, and which case catches which.

A wrong port is a plain reference with one of its deviations switched on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .cases import Argument, GoldenSet
from .checker import check_case
from .compare import Row
from .files import write_atomically
from .model import compute
from .references import reference_for
from .sets import load_set, set_names
from .sharpness import Moved, sharpness

#: Sets whose wrong ports are tried; each must be caught within the set.
SETS = (
    "rll-cvpr19", "rll-tpami", "osm", "osm-v4", "ohpm", "caa", "weighted-softmax", "contrastive-caffe", "contrastive-v2-cvpr19",
    "triplet-caffe", "unified-weight", "ms", "contrastive-deep-metric", "binomial", "binomial-mined", "lifted", "lifted-mined",
    "hard-mining", "triplet-hard-mining", "nca-k5", "semi-hard", "batch-all", "weight", "weight-mined", "margin-class-beta",
    "normsoftmax", "proxy-anchor",
)  # fmt: skip
# Deviations that are the set's own setting, or that make no difference at it: the set that catches them.
ELSEWHERE = {
    ("ms", "base_half"): "ms-paper",
    ("ms", "beta_40"): "ms-paper",
    ("binomial", "mean_over_used"): "binomial-mined",  # without mining every anchor counts
    ("lifted", "mean_over_used"): "lifted-mined",
    ("binomial-mined", "near_positives"): "binomial",  # a pair at s = 1 is never mined
    ("lifted-mined", "near_positives"): "lifted",
    ("weight-mined", "near_positives"): "weight",
}
BEGIN, END = "<!-- mutants: begin (python -m golden mutants --write docs/golden.md) -->", "<!-- mutants: end -->"
SETTINGS_BEGIN, SETTINGS_END = "<!-- settings: begin (the same command) -->", "<!-- settings: end -->"


def wrong_port(
    golden_set: GoldenSet, deviations: frozenset[str] = frozenset(), params: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """A NumPy loss with the formula's value and gradient; deviations or other `params` make it wrong, none leaves it right."""
    reference = reference_for(golden_set.family)
    assert reference is not None, golden_set.name
    parts = golden_set.signature.split(", ")

    def loss(*arrays: Any) -> Any:
        arguments = [Argument(p.rstrip("*"), a, p.endswith("*")) for p, a in zip(parts, arrays)]
        outcome = compute(reference, params or golden_set.params, arguments, deviations)
        return {"loss": outcome.loss, "gradient": outcome.gradients, **outcome.outputs}

    loss.golden_framework = "numpy"  # type: ignore[attr-defined]
    return loss


def rows(golden_set: GoldenSet, deviation: str | None) -> list[Row]:
    """The check of one wrong port (None: the right one) on every case of a set, in float64."""
    port = wrong_port(golden_set, frozenset({deviation} if deviation else ()))
    return [check_case(port, case, "float64") for case in golden_set.cases if "float64" in case.expected]


def mutants() -> list[tuple[str, str, str]]:
    """(set, deviation, words) of every wrong port that is tried."""
    found = []
    for name in SETS:
        reference = reference_for(load_set(name).family)
        assert reference is not None
        found += [(ELSEWHERE.get((name, d.key), name), d.key, d.words) for d in reference.deviations]
    return list(dict.fromkeys(found))


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
        for _, key, words in (m for m in all_mutants if m[0] == name):
            marks = ["x" if row.verdict != "pass" else "" for row in rows(golden_set, key)]
            caught += any(marks)
            lines.append(f"| {words} | " + " | ".join(marks) + " |")
        lines.append("")
    return "\n".join([f"{caught} of {len(all_mutants)} wrong ports are caught.", "", *lines]).rstrip() + "\n"


def settings_table() -> str:
    """Markdown: a row per setting of each set; how many cases notice it moved up and down, or why none does."""
    lines = ["| set | setting | moved | noticed by |", "|---|---|---|---|"]
    moved: list[Moved] = []
    for name in set_names():
        golden_set = load_set(name)
        count = sum("float64" in case.expected for case in golden_set.cases)
        found = sharpness(golden_set)
        moved += found
        for setting in dict.fromkeys(m.setting for m in found):
            group = [m for m in found if m.setting == setting]
            told = [
                f"{len(m.cases)} of {count} cases" if m.cases else f"none: {m.why or 'NO REASON GIVEN'}" for m in group
            ]
            by = " / ".join(m.by for m in group)
            lines.append(f"| {name} | {setting} | {by} | {' / '.join(dict.fromkeys(told))} |")
    noticed = sum(bool(m.cases) for m in moved)
    reasons = sum(bool(m.why) for m in moved)
    head = f"{noticed} of {len(moved)} moves are noticed; {reasons} are listed as inert, with the reason."
    return "\n".join([head, "", *lines]) + "\n"


def replace_table(path: Path) -> None:
    """Put the tables between their marks in a Markdown file; ValueError if they are missing."""
    text = path.read_text(encoding="utf-8")
    for begin, end, made in ((BEGIN, END, table), (SETTINGS_BEGIN, SETTINGS_END, settings_table)):
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{path} must contain the lines {begin} and {end} once each")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n\n{made()}\n{end}{after}"
    write_atomically(path, text.encode())
