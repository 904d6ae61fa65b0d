"""`compare RUN...`: several runs beside each other and beside the published values; table, plot, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_recipes import registry
from paper_recipes.runner import run_files
from paper_recipes.runner.data.scale import in_words
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.reports import words
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring import curves as logs
from paper_recipes.runner.scoring.verdict import best_of
from paper_recipes.runner.verification import marks


@dataclass(frozen=True)
class Line:
    """One row of the comparison: where it is from, and percent by metric."""

    recipe: str
    form: str  # letters | full | own | published; of a full run also what is wrong with its weights
    data: str  # what was scored: rows of different data do not compare
    embedding: str
    iteration: str
    metrics: dict[str, float]
    mark: str = ""  # what of the run does not hold, or that it cannot be verified


NO_EVALUATION = "no evaluation"


def open_run(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Record and evaluations of a run, of which there may be none; RunError for a folder that holds no run."""
    return run_files.record(out), run_files.read(out, "evaluations")


def no_evaluation(record: dict[str, Any], mark: str) -> str:
    """The mark of a run that has none: that, its status, and what else is wrong with it."""
    return "; ".join(filter(None, (f"{NO_EVALUATION}: {record.get('status')}", mark)))


def _base(name: str) -> str:
    """The recipe of the registry that a derived one comes from: what is published is published of that."""
    return name.split("+")[0]


def lines(runs: list[Path]) -> list[Line]:
    """The last evaluation of runs on letters and on own pictures, the best (by the headline) of full ones, then what recipes are held to.

    A run without an evaluation is one row that says so. Raises RunError for a folder that holds no run.
    """
    rows: list[Line] = []
    names: dict[str, None] = {}
    for out in runs:
        record, evaluations = open_run(out)
        with run_files.fitting(out):
            recipe = registry.get(record["recipe"])
            full = record["form"] == "full" and recipe.expected
            chosen: dict[str, Any] = {"iteration": "", "metrics": {}}
            if evaluations:
                chosen = best_of(recipe, evaluations) if full else evaluations[-1]
        names[_base(recipe.name)] = None
        form = in_words(record["form"])
        if form == "full" and weights_link.objection(recipe, record.get("weights")):
            # Beside published values, a run from other weights must be seen to be one.
            form = f"full, weights: {weights_link.judge(recipe, record.get('weights'))[0]}"
        mark = marks.of_run(out).words
        if not evaluations:
            rows.append(Line(recipe.name, form, record["data"]["name"], "", "", {}, no_evaluation(record, mark)))
        for embedding, metrics in chosen["metrics"].items():
            place = (recipe.name, form, record["data"]["name"], embedding, str(chosen["iteration"]))
            rows.append(Line(*place, metrics, mark))
    for name in names:
        held: dict[str, dict[str, float]] = {}
        for expected in registry.get(name).expected:
            held.setdefault(expected.embedding, {})[expected.metric] = expected.value
        data = registry.get(name).dataset
        rows += [Line(name, "published", data, embedding, "", metrics) for embedding, metrics in held.items()]
    return rows


def table(rows: list[Line]) -> tuple[list[str], list[list[str]]]:
    """Header and cells, recalls in the order of K and then other metrics."""
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    metrics.sort(key=lambda metric: (not metric.startswith("R@"), int(metric[2:]) if metric.startswith("R@") else 0))
    header = ["recipe", "form", "data", "embedding", "iteration", *metrics]
    body = [
        [row.recipe, f"{row.form}, {row.mark}" if row.mark else row.form, row.data, row.embedding, row.iteration]
        + [f"{row.metrics[metric]:.2f}" if metric in row.metrics else "" for metric in metrics]
        for row in rows
    ]
    return header, body


def as_text(header: list[str], body: list[list[str]], style: str) -> str:
    """A table as "markdown", "csv", "json" or "latex" (booktabs; columns that hold numbers alone are flush right)."""
    if style == "json":
        return json.dumps([dict(zip(header, line)) for line in body], indent=1) + "\n"
    if style == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([header, *body])
        return out.getvalue()
    if style == "latex":
        escaped = [[words.latex(cell) for cell in line] for line in [header, *body]]
        head, *rest = [" & ".join(line) + r" \\" for line in escaped]
        columns = "".join("r" if all(map(_number, column)) else "l" for column in zip(*body))
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
    return words.table(header, body) + "\n"


def _number(cell: str) -> bool:
    return re.fullmatch(r"-?[\d.]*", cell) is not None


def plot(rows: list[Line], path: Path) -> None:
    """Recall over K, K on a logarithmic axis; published values dashed. Of several recipes the headline embeddings alone.

    RunError where no row has a recall.
    """
    from paper_recipes.runner.reports import figures  # matplotlib

    if len({_base(row.recipe) for row in rows}) > 1:
        rows = [row for row in rows if row.embedding == registry.get(_base(row.recipe)).embeddings[0]]
    curves = []
    for row in rows:
        points = sorted((int(key[2:]), value) for key, value in row.metrics.items() if key.startswith("R@"))
        if points:
            curves.append(
                (
                    f"{row.recipe} {row.embedding} ({_kind(row.form, row.data, row.mark)})",
                    points,
                    row.form == "published",
                )
            )
    if not curves:
        raise RunError("no recall at any K to plot in these runs")
    figures.recall_over_k(path, curves)


def plot_iterations(runs: list[Path], path: Path) -> None:
    """The headline embedding's recall@1 over the iterations of each run; beside full runs the authors' logs, dashed."""
    from paper_recipes.runner.reports import figures  # matplotlib

    curves: list[tuple[str, list[tuple[int, float]], bool]] = []
    theirs: dict[str, None] = {}
    for out in runs:
        record, evaluations = open_run(out)
        recipe = registry.get(record["recipe"])
        headline = recipe.embeddings[0]
        if not evaluations:
            continue
        with run_files.fitting(out):
            points = [(row["iteration"], row["metrics"][headline]["R@1"]) for row in evaluations]
        kind = _kind(in_words(record["form"]), record["data"]["name"], marks.of_run(out).words)
        curves.append((f"{recipe.name} {headline} ({kind})", points, False))
        if record["form"] == "full":
            theirs[_base(recipe.name)] = None
    for name in theirs:
        headline = registry.get(name).embeddings[0]
        if logged := logs.logged(registry.get(name)).get(headline):
            points = [(point.iteration, point.metrics["R@1"]) for point in logged if "R@1" in point.metrics]
            curves.append((f"{name} {headline} (authors' log)", points, True))
    if not curves:
        raise RunError("no evaluation to plot in these runs")
    figures.recall_over_iterations(path, curves)


def _kind(form: str, data: str, mark: str) -> str:
    """For a legend: of what does not hold, that it does not."""
    return ", ".join(word for word in ("" if form == "letters" else form, data, mark.split(":")[0]) if word)
