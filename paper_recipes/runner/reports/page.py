"""report.md, report.html and pictures of a run, from the files that the run left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from golden import published
from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner import manifest, run_files
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.files import read_json
from paper_recipes.runner.reports import figures, html_page, seen, top
from paper_recipes.runner.reports.banner import NOT_COMPARABLE
from paper_recipes.runner.reports.terminal import network_rows
from paper_recipes.runner.reports.words import Markdown, code, table, text
from paper_recipes.runner.scoring import curves, letters_recorded
from paper_recipes.runner.scoring.verdict import Verdict, verify
from paper_recipes.runner.verification import marks
from paper_recipes.runner.verification.marks import Mark
from ports import datasets
from ports.files import atomic_path

# packages whose version is shown; run.json has all of them
_SHOWN = ("torch", "torchvision", "numpy", "scipy", "pillow", "matplotlib", "protobuf", "safetensors")
_CURVES = (
    "Every checkpoint that the authors logged, in percent. The verdict above obeys the expected values alone: while the "
    "learning rate is high, runs that end alike may part by more than the band."
)
_VERIFIED = (
    "The files alone, held against each other when this page was written; `python -m paper_recipes verify` also reads the data, "
    "embeds the test set and trains stretches again."
)
_NOT_THIS_RUN = (
    "**Not this run.** The authors' logged recall over the iterations of the full recipe, on the real test set; a run with "
    "`--data` and `--weights` is compared with it checkpoint by checkpoint."
)


def write(out: Path, evidence: list[dict[str, str]]) -> Path:
    """Write the report of the run in `out`; returns the path of report.html."""
    mark = marks.of_run(out)  # of the files as they are, before new pictures stand among them
    record = run_files.record(out)
    steps, evaluations = run_files.read(out, "steps"), run_files.read(out, "evaluations")
    with run_files.fitting(out):
        recipe = registry.of_record(record)
        verdict = _verdict(recipe, record, evaluations, mark)
        kind, words = top.sentence(recipe, record, evaluations, verdict, mark)
        found = top.numbers(recipe, record, evaluations, read_json(out / "raw_pixels.json"))
        at = top.chosen(recipe, record, evaluations)
        when = "" if at is None else f"{recipe.embeddings[0]} at iteration {at['iteration']:,}, {at['queries']} queries"
        links = [(row.get("link", ""), top.COLOURS[top.kind_of(row.get("verdict", ""))]) for row in evidence]
        drawn = seen.draw(out, recipe, record, links)
        pictures = [*_draw(out, recipe, record, steps, evaluations), *drawn.pictures]
        middle = seen.sections(out, recipe, record, evaluations, drawn)
        body = (
            "\n\n".join(_sections(recipe, record, steps, evaluations, evidence, out, pictures, middle, mark, verdict))
            + "\n"
        )
    head = f"# {text(recipe.title)}\n\n**{text(words)}**\n\n"
    page = html_page.page(recipe.title, top.as_html(recipe.title, kind, words, found, when, evidence), body, out)
    for name, content in (("report.md", head + body), ("report.html", page)):
        with atomic_path(out / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    if (out / manifest.FILE).is_file():  # else the report alone would be sealed, and the old run seem to lack the rest
        manifest.seal(out, "report.md", "report.html", *pictures)
    return out / "report.html"


def _verdict(recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]], mark: Mark) -> Verdict | None:
    """None but for a full run: what one that diverged had reached before is no result of its recipe."""
    if record["form"] != "full" or "diverged" in record:
        return None
    objection = mark.words if mark.false is not None else weights_link.objection(recipe, record.get("weights"))
    return verify(recipe, evaluations, objection=objection)


def published_rows(recipe: Recipe) -> list[dict[str, Any]]:
    """The paper's own rows for this data set (comparison rows of other methods left out)."""
    if not recipe.records.method:
        return []
    arxiv = recipe.source.paper.rsplit(" ", 1)[-1]
    return [
        row
        for row in published.rows(dataset=datasets.describe(recipe.dataset).title)
        if arxiv in row["paper"]
        and row["kind"] in ("published", "repo README")
        and row["method"].startswith(recipe.records.method)
        and not row["confidence"].startswith("from secondary")
    ]


def _draw(out: Path, recipe: Recipe, record: dict[str, Any], steps: list[Any], evaluations: list[Any]) -> list[str]:
    drawn = []
    if steps:
        figures.loss_curve(out / "losses.png", steps)
        drawn.append("losses.png")
    if evaluations:
        lines = [
            (f"published on {datasets.describe(recipe.dataset).title}: {row['variant']}", row["metric"]["R@1"])
            for row in published_rows(recipe)
            if record["form"].startswith("full")
            and "R@1" in row["metric"]  # of other data it would be no line to reach
        ]
        raw = read_json(out / "raw_pixels.json")
        raw_r1 = raw["metrics"]["raw pixels"]["R@1"] if raw else None
        authors = letters_recorded.recalls(recipe, record)
        figures.recall_curve(
            out / "recall.png", evaluations, raw_r1, lines, record["form"], steps=steps, authors=authors
        )
        drawn.append("recall.png")
    if recipe.records.logs:
        full = record["form"] == "full"
        name = "curves.png" if full else "authors_curves.png"
        figures.authors_curves(recipe, evaluations if full else None, out / name)
        drawn.append(name)
    return drawn


def _sections(
    recipe: Recipe,
    record: dict[str, Any],
    steps: list[dict[str, Any]],
    evaluations: list[dict[str, Any]],
    evidence: list[dict[str, str]],
    out: Path,
    pictures: list[str],
    middle: list[str],
    mark: Mark,
    verdict: Verdict | None,
) -> list[str]:
    parts: list[str] = []
    if not record.get("comparable", True):
        parts.append(f"> {NOT_COMPARABLE}")
    if record["form"].startswith("embedded"):
        parts.append(
            "> **Letters form.** The recipe's own code path at small scale on letters that need no download. "
            "It shows that the chain works; it is not a reproduction of the paper's number.  \n"
            f"> The full recipe needs `--data` (the official {recipe.dataset.upper()} folder) and `--weights` "
            f"({recipe.weights})."
        )
    if record["form"].startswith("own"):
        parts.append(
            f"> **Own pictures** ({text(record['data']['name'])}), not the official {recipe.dataset.upper()}: published values, where "
            "they are shown, are of that data and no measure of this run."
        )
    parts.append(f"Status: **{text(record['status'])}** after {steps[-1]['iteration'] if steps else 0} iterations.")
    if mark.words:
        parts.append(f"> **{text(mark.words)}**")
    if "diverged" in record:
        parts.append(f"> {text(record['diverged']['line'])}")
    if evaluations:
        parts.append("## Result")
        if "recall.png" in pictures:
            parts.append("![Recall@1 over the iterations, beside published values](recall.png)")
        if verdict is not None:
            parts.append(_verdict_text(verdict))
        parts.append(_result_table(record, evaluations, read_json(out / "raw_pixels.json")))
    if verdict is not None and "curves.png" in pictures:
        parts += ["## Beside the authors' logs", _CURVES, curves.as_markdown(verdict.curves)]
        parts.append("![Recall over the iterations, the authors' and this run's](curves.png)")
    if "authors_curves.png" in pictures:
        parts += [
            "## What a full run is compared with",
            f"> {_NOT_THIS_RUN}",
            "![The authors' logs](authors_curves.png)",
        ]
    if "losses.png" in pictures:
        parts += ["## Losses and learning rate", "![Losses and learning rate over the iterations](losses.png)"]
    parts += middle
    parts += ["## Published values", _published_table(recipe)]
    parts += ["## The chain, row by row"]
    if seen.CHAIN in pictures:
        parts.append("![The chain of evidence: " + ", ".join(_in_words(row) for row in evidence) + f"]({seen.CHAIN})")
    parts.append(table(list(evidence[0]), [list(row.values()) for row in evidence]))
    parts += ["## Settings", _settings_table(recipe, record), "## Environment", _environment_table(record)]
    if mark.statements:
        rows = [[statement.name, statement.verdict, statement.words] for statement in mark.statements]
        parts += ["## Verified", _VERIFIED, table(["statement", "verdict", "recomputed"], rows)]
    if recipe.deviations:
        parts += ["## Known deviations", "\n".join(f"- {text(line)}" for line in recipe.deviations)]
    return parts


def _result_table(record: dict[str, Any], evaluations: list[dict[str, Any]], raw: dict[str, Any] | None) -> str:
    ks = list(next(iter(evaluations[0]["metrics"].values())))
    rows = []
    if raw:
        rows.append(["raw pixels", "", *(f"{raw['metrics']['raw pixels'][k]:.1f}" for k in ks)])
    for row in evaluations:
        for net, metrics in row["metrics"].items():
            step = f"{row['iteration']}" + (" (before training)" if row["iteration"] == 0 else "")
            rows.append([net, step, *(f"{metrics[k]:.1f}" for k in ks)])
    note = f"\n\nPercent of {text(evaluations[-1]['queries'])} queries; exact hit counts are in `evaluations.jsonl`."
    return table(["embedding", "iteration", *ks], rows) + note


def _verdict_text(verdict: Verdict) -> str:
    rows = [
        [v.metric, f"{v.expected:.1f} ± {v.tolerance:.1f}", v.shown(), v.verdict, v.provenance] for v in verdict.rows
    ]
    values = table(["metric", "expected", "got", "verdict", "provenance"], rows)
    return f"Verdict at iteration {verdict.iteration}: **{text(verdict.sentence)}**\n\n{values}"


def _published_table(recipe: Recipe) -> str:
    rows = [
        [row["variant"], " / ".join(f"{k} {v}" for k, v in row["metric"].items()), row["source"]]
        for row in published_rows(recipe)
    ]
    return table(["row", "values [%]", "source"], rows) if rows else "No published rows are recorded."


def _settings_table(recipe: Recipe, record: dict[str, Any]) -> str:
    rows = [
        ["recipe", Markdown(f"{code(recipe.name)}, fingerprint {code(record['fingerprint'][:16])}")],
        ["source", f"{recipe.source.repository} at {recipe.source.commit[:10]}, {recipe.source.folder}"],
        *([name, facts] for name, facts in network_rows(recipe).items()),
        ["batch", record["batch"]],  # of several processes, how they share it
        ["iterations", str(record["iterations"])],
        ["images", ", ".join(f"{k} {v}" for k, v in recipe.images.items())],
        ["evaluation", f"{recipe.evaluation.protocol}, ties {recipe.evaluation.ties}"],
        *(
            _data_row(record["data"], part)
            for part in ("train", "test", "gallery", "multi_query")
            if part in record["data"]
        ),
        ["weights", json.dumps(record["weights"]) if record["weights"] else "seeded initialisation (fillers)"],
        ["seed", str(record["seed"])],
    ]
    return table(["setting", "value"], rows)


def _data_row(data: dict[str, Any], part: str) -> list[str]:
    facts = data[part]
    listed = f"sha256 {facts['fingerprint'][:16]}"  # of list and pictures
    return [f"{part} data", f"{data['name']}: {facts['images']:,} images of {facts['classes']:,} classes, {listed}"]


def _environment_table(record: dict[str, Any]) -> str:
    installed = record["versions"]
    versions = ", ".join(f"{name} {installed[name]}" for name in _SHOWN if installed.get(name))
    versions += f"; all {len(installed)} installed packages stand in run.json"
    commit = f"commit {record['git_sha']}" if record["git_sha"] else "not tracked by a git repository"
    source = f"version {record.get('project_version')}, {commit}" + (
        " with uncommitted changes" if record["git_dirty"] else ""
    )
    source += f", source files sha256 {str(record.get('source_sha256'))[:16]}"
    rows = [["sources", source], ["versions", versions], ["device", record["device"]]]
    rows += [["history", "; ".join(map(_event, record.get("history", ()))) or "not recorded"]]
    rows += [[key, str(value)] for key, value in record["environment"].items() if value is not None]
    return table(["", ""], rows)


def _in_words(row: dict[str, str]) -> str:
    """A link for who does not see the picture."""
    return text(f"{row.get('link', '')} {row.get('verdict', '')}")


def _event(event: dict[str, Any]) -> str:
    """One start, stop or resume in words."""
    options = ", ".join(f"{key} {value}" for key, value in event.get("options", {}).items())
    where = "" if event["iteration"] is None else f" at iteration {event['iteration']}"
    return f"{event['event']}{where}, {event['at']}" + (f" ({options})" if options else "")
