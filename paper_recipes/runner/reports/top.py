"""The top of a report: one sentence of verdict, the headline's numbers with what they stand beside, the chain of evidence."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from paper_recipes.recipe import Recipe
from paper_recipes.runner.evidence.row import HOLDS
from paper_recipes.runner.reports.words import shown
from paper_recipes.runner.scoring import letters_band
from paper_recipes.runner.scoring.verdict import Verdict, best_of
from paper_recipes.runner.verification.marks import Mark
from ports import datasets

#: kind -> its colour; words beside it say the same.
COLOURS = {"good": "#237a3b", "bad": "#b3263a", "open": "#6b7280"}


@dataclass(frozen=True)
class Number:
    """One number of the headline embedding, in percent, and the lines that stand beside it."""

    name: str
    value: float
    beside: tuple[str, ...]


def chosen(recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The evaluation that the numbers are of: a full run's best, as its authors chose; else the last. None: there is none."""
    if not evaluations:
        return None
    return best_of(recipe, evaluations) if record["form"] == "full" and recipe.expected else evaluations[-1]


def sentence(
    recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]], verdict: Verdict | None, mark: Mark
) -> tuple[str, str]:
    """(kind, what came of the run): "good", "bad" or "open"."""
    if mark.false is not None:
        return "bad", f"What this run states does not hold: {mark.words}"
    if "diverged" in record:
        return "bad", f"The run {record['status']}; what it had reached before is no result."
    if verdict is not None:
        return "good" if verdict.passed else "bad", _judged(verdict)
    if not evaluations:
        return "open", "Nothing was measured: the run has no evaluation."
    if record["status"] != "finished":
        return "open", f"No result yet: {record['status']}."
    held = letters_band.check(recipe, record, evaluations)
    if held is not None:
        return "good" if held.passed else "bad", f"{_letters(recipe, record, evaluations)} It ended {held.sentence}."
    return "open", _letters(recipe, record, evaluations)


def _judged(verdict: Verdict) -> str:
    """Of a full run: the verdict's word and, where the values may be compared, how many are within their bands."""
    said = f"{verdict.sentence[0].upper()}{verdict.sentence[1:]}"
    if verdict.objection:
        return f"{said}."
    counted = f"{verdict.within} of {len(verdict.rows)} published values are met within their bands"
    return f"{said}; {counted}, at iteration {verdict.iteration:,}."


def _letters(recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]]) -> str:
    """Of a run that is held to nothing published."""
    name, first, last = recipe.embeddings[0], evaluations[0], evaluations[-1]
    where = "letters" if record["form"].startswith("embedded") else record["data"]["name"]
    value, before = (row["metrics"].get(name, {}).get("R@1") for row in (last, first))
    if value is None:
        return f"Measured on {where} at iteration {last['iteration']:,}; nothing published to compare with."
    if first is last or before is None or first["iteration"] != 0:
        came = f"Recall@1 on {where} is {value:.1f} % at iteration {last['iteration']:,}"
    else:
        way = "rose" if value > before else "fell" if value < before else "stayed"
        to = f" from {before:.1f} % to {value:.1f} %" if way != "stayed" else f" at {value:.1f} %"
        came = f"Recall@1 on {where} {way}{to} in {last['iteration']:,} steps"
    return f"{came}; this is no reproduction of the paper's number."


def numbers(
    recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]], raw: dict[str, Any] | None
) -> list[Number]:
    """The headline embedding's metrics, each beside its published value (a full run: with its band) and what it began with."""
    row = chosen(recipe, record, evaluations)
    if row is None:
        return []
    name, first = recipe.embeddings[0], evaluations[0]
    held = {e.metric: e for e in recipe.expected if e.embedding == name}
    held_letters = letters_band.check(recipe, record, evaluations)
    pixels = (raw or {"metrics": {}})["metrics"].get("raw pixels", {})
    found = []
    for metric, value in row["metrics"].get(name, {}).items():
        beside = []
        if (e := held.get(metric)) is not None and not record["form"].startswith("own"):
            where = "" if record["form"] == "full" else f" on {datasets.describe(recipe.dataset).title}"
            band = f" ± {e.tolerance:g}" if record["form"] == "full" else ""
            beside.append(f"published{where} {e.value:g}{band}")
        if held_letters is not None and metric == held_letters.band.metric:
            beside.append(f"letters band {held_letters.band.value:g} ± {held_letters.band.tolerance:g}")
        if first is not row and first["iteration"] == 0 and metric in first["metrics"].get(name, {}):
            began = "start" if record.get("weights") else "untrained"
            beside.append(f"{began} {first['metrics'][name][metric]:.1f}")
        if metric in pixels:
            beside.append(f"raw pixels {pixels[metric]:.1f}")
        found.append(Number(metric, value, tuple(beside)))
    return found


def kind_of(verdict: str) -> str:
    """Of a link of the chain."""
    return "good" if verdict in HOLDS else "bad" if verdict == "WRONG" else "open"


def as_html(title: str, kind: str, words: str, found: list[Number], when: str, evidence: list[dict[str, str]]) -> str:
    """Title, verdict, numbers and chain; every link opens its details. Works without a script."""
    tiles = "".join(
        f'<div class="tile"><span class="name">{_text(n.name)}</span><b>{n.value:.1f}<small> %</small></b>'
        + "".join(f"<span>{_text(line)}</span>" for line in n.beside)
        + "</div>"
        for n in found
    )
    note = f'<p class="note">{_text(when)}</p>' if found else ""
    links = "".join(_link(row) for row in evidence)
    return (
        f'<header><h1>{_text(title)}</h1><p class="verdict {kind}">{_text(words)}</p><div class="tiles">{tiles}</div>{note}'
        f'<h2>Chain of evidence</h2><p class="note">Each link of the recipe against its reference: green verified, grey open, '
        f'red wrong. A link opens its details.</p><ol class="chain">{links}</ol></header>'
    )


def _link(row: dict[str, str]) -> str:
    verdict = row.get("verdict", "")
    facts = "".join(f"<dt>{_text(k)}</dt><dd>{_text(v)}</dd>" for k, v in row.items() if k != "link")
    mark = {"good": "✓", "bad": "✗", "open": "–"}[kind_of(verdict)]
    return (
        f'<li class="{kind_of(verdict)}"><details><summary>{mark} {_text(row.get("link", ""))}</summary>'
        f"<dl>{facts}</dl></details></li>"
    )


def _text(value: object) -> str:
    return html.escape(shown(value).strip())
