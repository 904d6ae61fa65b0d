"""`leaderboard`: what this installation has reproduced, verified anew from what runs and evaluations left on disk.

A run counts if it is the frozen recipe in full on the official data: its fingerprint is the locked one, the quick part of its
verification holds, and the verdict is computed again from its evaluations. Everything else is listed apart with the reason.
Whoever edits a record and seals it again is found by `verify`, which embeds and trains anew, not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_recipes import lock, registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner import run_files, run_lock
from paper_recipes.runner.data.scale import in_words
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.files import read_object
from paper_recipes.runner.scoring.verdict import CHECK, HIGHER, Verdict, verify
from paper_recipes.runner.verification import marks, quick
from paper_recipes.runner.verification.marks import Mark
from ports.console import Table, paragraph


@dataclass(frozen=True)
class Entry:
    """One run or evaluation. `verdict` is there exactly where it counts, `reason` says why it does not."""

    recipe: str
    how: str  # "run" | "evaluate"
    form: str
    folder: Path
    best: str  # headline metric and value, or ""
    git_sha: str | None = None
    verdict: Verdict | None = None
    reason: str = ""
    weights: str = "-"  # what is known of the weights it started from
    holds: bool = True  # as far as the quick part of its verification goes


def entries(root: Path) -> list[Entry]:
    """Every run (run.json) and evaluation (scores.json) below `root`, in the order of their folders.

    Raises ValueError where there is no such folder.
    """
    if not root.is_dir():
        raise ValueError(f"--runs {root}: no such folder")
    found = [*root.rglob("run.json"), *root.rglob("scores.json")]
    return [_entry(path) for path in sorted(found)]


def _entry(path: Path) -> Entry:
    how = "run" if path.name == "run.json" else "evaluate"
    try:
        record = read_object(path, "a record")
        name, form = str(record["recipe"]), str(record["form"])
        if how == "run":
            record["status"] = run_lock.status(path.parent, record)
    except (ValueError, KeyError) as error:
        return Entry("?", how, "?", path.parent, "", reason=f"{path.name} cannot be read: {error!r}")
    try:
        evaluations = run_files.read(path.parent, "evaluations") if how == "run" else [{"iteration": 0, **record}]
        recipe = registry.of_record({"recipe": name})  # of a derived recipe: held to nothing
        reason = next(_objections(recipe, record, evaluations, how), "")
        result = None if reason else verify(recipe, evaluations)
        best = _headline(recipe, evaluations, trained=how == "run")
    except registry.UnknownRecipeError:
        recipe, result, best, reason = None, None, "", marks.NO_RECIPE
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        recipe, result, best, reason = None, None, "", f"its files do not fit together: {error!r}"
    mark = marks.of_run(path.parent) if how == "run" else Mark()
    if mark.words and reason != marks.NO_RECIPE:
        result, reason = None, f"{reason}; {mark.words}" if reason else mark.words
    best = "" if mark.false is not None else best  # no value of such a run stands among others
    weights = weights_link.judge(recipe, record.get("weights"))[0] if recipe is not None and how == "run" else "-"
    return Entry(name, how, form, path.parent, best, record.get("git_sha"), result, reason, weights, mark.false is None)


def _objections(recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]], how: str) -> Iterator[str]:
    """Why it is no reproduction of the frozen recipe, the plainest reason first."""
    if recipe.derived_from and not recipe.expected:
        yield f"derived from {recipe.derived_from}"
    if not record.get("comparable", True):
        yield "run with --fast: not comparable"
    if record["form"] != "full":
        yield "own pictures" if record["form"] == "own" else f"{in_words(record['form'])} form"
    if (shared := record.get("replicas")) is not None:
        yield f"trained by {shared['processes']} processes (--replicas {shared['semantics']}), the recipe by one"
    frozen = registry.get(recipe.derived_from) if recipe.derived_from else recipe
    if lock.read().get(frozen.name) != frozen.fingerprint():
        yield "the recipe is not as locked"
    if record.get("fingerprint") != recipe.fingerprint():
        yield "made with another version of the recipe"
    if record["data"]["name"] != recipe.dataset:
        yield f"on {record['data']['name']}, the recipe is of {recipe.dataset}"
    if how == "evaluate" and record.get("protocol") is not None:
        yield f"by the rules of {record['protocol']}"
    if how == "run" and record.get("status") != "finished":
        yield f"not finished: {record.get('status')}"
    if how == "run" and (objection := weights_link.objection(recipe, record.get("weights"))):
        yield f"not comparable: {objection}"
    if not evaluations:
        yield "no evaluation"
    if how == "run" and evaluations[-1]["iteration"] != recipe.iterations:
        yield f"evaluated last at iteration {evaluations[-1]['iteration']:,} of {recipe.iterations:,}"
    for row in evaluations if how == "evaluate" else ():  # a run's are among the statements of its verification
        yield from quick.miscounts(row, "scores.json")
    if not recipe.expected:
        yield "held to no published value"


def _headline(recipe: Recipe, evaluations: list[dict[str, Any]], *, trained: bool) -> str:
    """The best value of the first embedding's R@1. Of a run that trains, never the untrained network's."""
    name = recipe.embeddings[0]
    scored = [row for row in evaluations if "R@1" in row["metrics"].get(name, {})]
    values = [row["metrics"][name]["R@1"] for row in scored if row["iteration"] > 0 or not trained]
    return f"{name} R@1 {max(values):.2f}" if values else "untrained only" if scored else "no evaluation"


def as_json(root: Path) -> dict[str, Any]:
    """Every entry, those that count first."""
    counted, others = _parted(root)
    return {"counted": _counted(counted).as_json(), "not_counted": _others(others).as_json()}


def _parted(root: Path) -> tuple[list[Entry], list[Entry]]:
    """Those that count; the others, what does not hold last."""
    everything = entries(root)
    others = sorted((entry for entry in everything if entry.verdict is None), key=lambda entry: not entry.holds)
    return [entry for entry in everything if entry.verdict is not None], others


def _counted(found: list[Entry]) -> Table:
    header = ("recipe", "held to", "got", "verdict", "weights", "by", "folder", "commit")
    table = Table(header, names=(0, 1, 2, 5, 6, 7), title="Frozen recipes in full")
    for entry in found:
        assert entry.verdict is not None
        first = entry.verdict.rows[0]
        held = f"{first.metric} {first.expected} ± {first.tolerance}"
        verdict = f"{entry.verdict.word}: {entry.verdict.within} of {len(entry.verdict.rows)} values"
        last = (entry.weights, entry.how, str(entry.folder), (entry.git_sha or "-")[:10])
        table.rows.append([entry.recipe, held, first.shown(), verdict, *last])
    return table


def _others(found: list[Entry]) -> Table:
    header = ("recipe", "form", "best", "folder", "why it does not count")
    rows = [[e.recipe, in_words(e.form), e.best, str(e.folder), e.reason] for e in found]
    return Table(header, rows, names=(0, 1, 2, 3), title="Not counted")


def show(root: Path) -> None:
    """Print both tables, and how many recipes were reproduced."""
    counted, others = _parted(root)
    for table in (_counted(counted), _others(others)):
        if table.rows:
            table.print()
    passed = [entry for entry in counted if entry.verdict and entry.verdict.passed and entry.recipe in registry.RECIPES]
    trained = {entry.recipe for entry in passed if entry.how == "run"}
    scored = {entry.recipe for entry in passed if entry.how == "evaluate"}
    higher = sum(entry.verdict is not None and entry.verdict.word == HIGHER for entry in counted)
    text = (
        f"{len(trained)} of {len(registry.RECIPES)} recipes reproduced by training, {len(scored)} by a given model's "
        f"evaluation; not counted: {len(others)}." + (f" Higher than published: {higher}, {CHECK}." if higher else "")
    )
    print(paragraph(text))
