"""`compare RUN...`: several runs beside each other and beside the published values; table, plot, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from paper_recipes import registry
from paper_recipes.runner import train
from paper_recipes.runner.train import RunError
from paper_recipes.runner.verdict import best_of


@dataclass(frozen=True)
class Line:
    """One row of the comparison: where it is from, and percent by metric."""

    recipe: str
    form: str  # embedded | full | own | published
    embedding: str
    iteration: str
    metrics: dict[str, float]


def lines(runs: list[Path]) -> list[Line]:
    """The last evaluation of embedded and own runs, the best (by the headline) of full ones, then what recipes are held to.

    Raises RunError for a folder that holds no run or no evaluation.
    """
    rows: list[Line] = []
    names: dict[str, None] = {}
    for out in runs:
        record_file = out / "run.json"
        if not record_file.exists():
            raise RunError(f"{out} is not a run directory: there is no run.json")
        record = json.loads(record_file.read_text(encoding="utf-8"))
        evaluations = train.read(out, "evaluations")
        if not evaluations:
            raise RunError(f"{out}: the run has no evaluation yet")
        recipe = registry.get(record["recipe"])
        chosen = best_of(recipe, evaluations) if record["form"] == "full" and recipe.expected else evaluations[-1]
        names[recipe.name] = None
        for embedding, metrics in chosen["metrics"].items():
            rows.append(Line(recipe.name, record["form"], embedding, str(chosen["iteration"]), metrics))
    for name in names:
        held: dict[str, dict[str, float]] = {}
        for expected in registry.get(name).expected:
            held.setdefault(expected.test_net, {})[expected.metric] = expected.value
        rows += [Line(name, "published", embedding, "", metrics) for embedding, metrics in held.items()]
    return rows


def _cells(rows: list[Line]) -> tuple[list[str], list[list[str]]]:
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    metrics.sort(key=lambda metric: (not metric.startswith("R@"), int(metric[2:]) if metric.startswith("R@") else 0))
    header = ["recipe", "form", "embedding", "iteration", *metrics]
    body = [
        [row.recipe, row.form, row.embedding, row.iteration]
        + [f"{row.metrics[metric]:.2f}" if metric in row.metrics else "" for metric in metrics]
        for row in rows
    ]
    return header, body


def as_text(rows: list[Line], style: str) -> str:
    """The table as "markdown", "csv" or "latex" (booktabs)."""
    header, body = _cells(rows)
    if style == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([header, *body])
        return out.getvalue()
    if style == "latex":
        escaped = [[cell.replace("_", r"\_").replace("&", r"\&") for cell in line] for line in [header, *body]]
        head, *rest = [" & ".join(line) + r" \\" for line in escaped]
        columns = "llll" + "r" * (len(header) - 4)
        return "\n".join(
            [
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *rest,
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )
    table = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in table) + "\n"


def plot(rows: list[Line], path: Path) -> None:
    """Recall over K, K on a logarithmic axis; published values dashed."""
    from paper_recipes.runner import figures

    curves = []
    for row in rows:
        points = sorted((int(key[2:]), value) for key, value in row.metrics.items() if key.startswith("R@"))
        label = f"{row.recipe} {row.embedding} ({row.form})"
        curves.append((label, points, row.form == "published"))
    figures.recall_over_k(path, curves)
