"""`compare RUN RUN... --html FILE`: curves on one axis, what differs in the settings, which classes won and lost. One file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from paper_recipes import differences, registry
from paper_recipes.runner import run_files
from paper_recipes.runner.data.scale import in_words
from paper_recipes.runner.reports import compare, html_page, insight_figures, seen
from paper_recipes.runner.reports.words import shown, table, text
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring import insight
from ports.files import atomic_path

#: Classes named on each side of a comparison.
NAMED = 10
# of a run.json, beside the recipe's settings: what the two runs may differ in
_FACTS = ("form", "seed", "iterations", "batch", "device", "status", "git_sha")


def write(runs: list[Path], path: Path) -> None:
    """Write the page; the first run is what the others are compared with. RunError for fewer than two runs."""
    if len(runs) < 2:
        raise RunError("--html compares runs with the first one: give two or more")
    rows = compare.lines(runs)
    records = [run_files.record(run) for run in runs]
    with tempfile.TemporaryDirectory(prefix="dml-ports-") as folder:
        place = Path(folder)
        parts = ["# " + text(" and ".join(str(run) for run in runs)), _table(rows), *_curves(runs, place)]
        for number in range(1, len(runs)):
            pair = (runs[0], runs[number])
            parts.append(f"## {text(pair[1])} against {text(pair[0])}")
            parts += _settings(pair, (records[0], records[number]))
            parts += _classes(pair, (records[0], records[number]), place / f"classes_{number}.png")
        title = f"{len(runs)} runs compared"
        page = html_page.page(title, "", "\n\n".join(parts) + "\n", place)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _table(rows: list[compare.Line]) -> str:
    return table(*compare.table(rows))


def _curves(runs: list[Path], folder: Path) -> list[str]:
    try:
        compare.plot_iterations(runs, folder / "curves.png")
    except RunError:  # no run has an evaluation
        return []
    return ["## Recall over the iterations", "![Recall@1 of the runs over the iterations](curves.png)"]


def _settings(pair: tuple[Path, Path], records: tuple[dict[str, Any], dict[str, Any]]) -> list[str]:
    """Settings of the recipes, then facts of the runs; equal ones are left out."""
    first, second = (registry.get(record["recipe"]) for record in records)
    rows = [list(row) for row in differences.explain(first, second)]
    for key in _FACTS:
        ours, theirs = (str(record.get(key)) for record in records)
        if ours != theirs:
            rows.append([key, in_words(ours), in_words(theirs)])
    data = [f"{record['data'].get('name')}, {_fingerprint(record)}" for record in records]
    if data[0] != data[1]:
        rows.append(["test data", *data])
    versions = [record.get("versions") or {} for record in records]
    for name in sorted(versions[0].keys() | versions[1].keys()):
        ours, theirs = (found.get(name, "-") for found in versions)
        if ours != theirs:
            rows.append([f"package {name}", ours, theirs])
    if not rows:
        return ["### What differs", "Nothing in settings, seed, data or packages."]
    return ["### What differs", table(["setting", shown(pair[0]), shown(pair[1])], rows)]


def _fingerprint(record: dict[str, Any]) -> str:
    return str(record["data"].get("test", {}).get("fingerprint", "-"))[:16]


def _classes(pair: tuple[Path, Path], records: tuple[dict[str, Any], dict[str, Any]], picture: Path) -> list[str]:
    """Wins and losses of the second run, by class; where both scored the same test set and kept its embeddings."""
    head = "### Classes won and lost"
    ours, theirs = (seen.of_run(run, registry.get(record["recipe"])) for run, record in zip(pair, records))
    if ours is None or theirs is None:
        return [head, "Not compared: a run keeps no embeddings of its last evaluation."]
    if _fingerprint(records[0]) != _fingerprint(records[1]) or not np.array_equal(ours.labels, theirs.labels):
        return [head, "Not compared: the runs were scored on different test sets."]
    found = [{one.label: one for one in insight.recall_by_class(side)} for side in (ours, theirs)]
    change = {label: found[1][label].percent - found[0][label].percent for label in found[0]}
    order = sorted(change, key=lambda label: (-change[label], label))
    won, lost = ([label for label in order if sign * change[label] > 0] for sign in (1, -1))
    said = f"{len(won):,} classes won, {len(lost):,} lost, {len(order) - len(won) - len(lost):,} as before."
    if not won and not lost:
        return [head, said]
    names = seen.names_of(records[0])
    insight_figures.class_changes(picture, [change[label] for label in order])
    rows = [
        [
            str(names.get(k, k)),
            f"{found[0][k].percent:.1f}",
            f"{found[1][k].percent:.1f}",
            f"{change[k]:+.1f}",
            str(found[0][k].queries),
        ]
        for k in [*won[:NAMED], *lost[-NAMED:]]
    ]
    header = ["class", "R@1 [%] of the first", "of the second", "points", "queries"]
    return [
        head,
        said,
        f"![Change of recall@1 of every class, largest gain first]({picture.name})",
        table(header, rows),
    ]
