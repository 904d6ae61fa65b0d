"""`card RUN`: what publishing a run's model asks for, every field from the record, or marked as not verifiable here.

README.md                     model card, with metadata in the form of the Hugging Face Hub
.eval_results/dml_ports.yaml  the numbers, in that Hub's form for evaluation results
CITATION.bib                  the paper, and this program at its version
CHECKLIST.md                  answers to what artifact checklists ask
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner import run_files
from paper_recipes.runner.data.scale import in_words
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.reports import top
from paper_recipes.runner.reports.page import published_rows
from paper_recipes.runner.reports.words import table, text
from paper_recipes.runner.run_files import RunError
from paper_recipes.runner.scoring.verdict import verify
from paper_recipes.runner.verification import marks
from ports import datasets
from ports.files import atomic_path
from ports.progress import minutes

UNKNOWN = "not verifiable here"
FOLDER = "card"


def write(run: Path, folder: Path | None = None) -> list[Path]:
    """Write the four files into `folder` (RUN/card); their paths. Raises RunError for a run whose statements do not hold."""
    record, evaluations = run_files.record(run), run_files.read(run, "evaluations")
    mark = marks.of_run(run)
    if mark.false is not None:
        raise RunError(f"{run} {mark.words}: no card is written of it")
    with run_files.fitting(run):
        recipe = registry.of_record(record)
        verdict = None
        if record["form"] == "full" and "diverged" not in record:
            verdict = verify(recipe, evaluations, objection=weights_link.objection(recipe, record.get("weights")))
        _, sentence = top.sentence(recipe, record, evaluations, verdict, mark)
        chosen = top.chosen(recipe, record, evaluations)
        files = {
            "README.md": _card(recipe, record, chosen, sentence, run),
            ".eval_results/dml_ports.yaml": _eval_results(recipe, record, chosen),
            "CITATION.bib": _citation(recipe, record),
            "CHECKLIST.md": _checklist(recipe, record, chosen, sentence, run),
        }
    written = []
    for name, content in files.items():
        path = (folder or run / FOLDER) / name
        with atomic_path(path, parents=True) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written.append(path)
    return written


def _scalar(value: Any) -> str:
    """As YAML: JSON's strings and numbers are YAML's."""
    return json.dumps(value, ensure_ascii=False)


def _numbers(recipe: Recipe, chosen: dict[str, Any] | None) -> list[tuple[str, float]]:
    """Metric -> percent, of the headline embedding."""
    return [] if chosen is None else list(chosen["metrics"].get(recipe.embeddings[0], {}).items())


def _data(record: dict[str, Any]) -> str:
    """What was scored, by name; of letters and own pictures that they are."""
    return str(record["data"]["name"])


def _card(recipe: Recipe, record: dict[str, Any], chosen: dict[str, Any] | None, sentence: str, run: Path) -> str:
    title = datasets.describe(recipe.dataset).title
    meta = [
        "---",
        "tags:",
        *(f"- {_scalar(tag)}" for tag in ("deep-metric-learning", "image-retrieval", "dml-ports", recipe.name)),
        "pipeline_tag: image-feature-extraction",
    ]
    if numbers := _numbers(recipe, chosen):
        meta += ["model-index:", f"- name: {_scalar(recipe.name)}", "  results:"]
        meta += ["  - task:", "      type: image-feature-extraction", "      name: image retrieval", "    dataset:"]
        meta += [f"      type: {_scalar(recipe.dataset if record['form'] == 'full' else in_words(record['form']))}"]
        meta += [f"      name: {_scalar(_data(record))}", "    metrics:"]
        for name, value in numbers:
            meta += [f"    - type: {_scalar(name)}", f"      value: {value:.4f}", "      verified: false"]
    facts = [
        ["recipe", f"{recipe.name}, fingerprint {record['fingerprint'][:16]}"],
        ["paper", recipe.source.paper],
        ["form", in_words(record["form"])],
        ["trained on", _split(record, "train")],
        ["scored on", _split(record, "test")],
        ["started from", json.dumps(record["weights"]) if record.get("weights") else "seeded initial values"],
        ["iterations", f"{record.get('iterations', UNKNOWN)}"],
        ["embeddings", ", ".join(recipe.embeddings)],
        [
            "licence of the weights",
            f"{UNKNOWN}: whoever publishes them decides, under the terms of data and starting weights",
        ],
        ["intended use", f"{UNKNOWN}; the recipe is of image retrieval on {title}"],
        ["limits and biases", f"{UNKNOWN}: nothing but the numbers below was measured"],
    ]
    held = {e.metric: f"{e.value:g} ± {e.tolerance:g}" for e in recipe.expected if e.embedding == recipe.embeddings[0]}
    rows = [[name, f"{value:.2f}", held.get(name, "none")] for name, value in numbers]
    queries = "" if chosen is None else f"At iteration {chosen['iteration']}, percent of {chosen['queries']} queries."
    full = record["form"] == "full"
    note = "" if full else f" The published values are of {title}, no measure of this run."
    return "\n".join(
        [
            *meta,
            "---",
            "",
            f"# {text(recipe.title)}",
            "",
            f"**{text(sentence)}**",
            "",
            table(["", ""], facts),
            "",
            "## Numbers",
            "",
            table(["metric", "this run", "published"], rows) if rows else "None: the run has no evaluation.",
            "",
            text(queries + note),
            "",
            f"Made by `python -m paper_recipes run` and written by `card`; {text(_program(record))}. `verify {text(run.name)}` recomputes what "
            "the run states.",
            "",
        ]
    )


def _split(record: dict[str, Any], part: str) -> str:
    facts = record["data"].get(part)
    if not facts:
        return UNKNOWN
    return f"{_data(record)}: {facts['images']:,} images of {facts['classes']:,} classes, sha256 {facts['fingerprint'][:16]}"


def _program(record: dict[str, Any]) -> str:
    commit = record.get("git_sha") or f"commit {UNKNOWN}"
    changed = " with uncommitted changes" if record.get("git_dirty") else ""
    return f"dml-ports {record.get('project_version') or UNKNOWN}, {commit}{changed}"


def _eval_results(recipe: Recipe, record: dict[str, Any], chosen: dict[str, Any] | None) -> str:
    """A list with an entry for each metric. The Hub's identifier of the data set is in no record."""
    if chosen is None:
        return "[]\n"
    day = str(record["started"])[:10] if "started" in record else UNKNOWN
    where = f"{_data(record)}, {in_words(record['form'])} form, iteration {chosen['iteration']}, {chosen['queries']} queries"
    lines = []
    for name, value in _numbers(recipe, chosen):
        lines += [
            "- dataset:",
            f"    id: {_scalar(UNKNOWN)}",
            f"    task_id: {_scalar(f'{recipe.embeddings[0]} {name}')}",
        ]
        lines += [f"  value: {value:.4f}", f"  date: {_scalar(day)}", f"  notes: {_scalar(where)}"]
    return "\n".join(lines) + "\n"


def _citation(recipe: Recipe, record: dict[str, Any]) -> str:
    """Authors are no field of a recipe, so they are left to whoever publishes."""
    paper = recipe.source.paper
    number = re.search(r"arXiv (\S+)$", paper)
    title, *venue = re.sub(r",? arXiv \S+$", "", paper).rsplit(", ", 1)
    entry = [f"  title = {{{{{title}}}}}", f"  author = {{{UNKNOWN}}}"]
    entry += [f"  note = {{{venue[0]}}}"] if venue else []
    entry += [f"  eprint = {{{number[1]}}}", "  archivePrefix = {arXiv}"] if number else []
    ours = [
        "  title = {{dml-ports}}",
        f"  author = {{{UNKNOWN}}}",
        f"  version = {{{record.get('project_version') or UNKNOWN}}}",
    ]
    ours += [f"  note = {{commit {record.get('git_sha') or UNKNOWN}}}"]
    return (
        f"@misc{{{recipe.name.split('+')[0]},\n"
        + ",\n".join(entry)
        + "\n}\n\n@software{dml-ports,\n"
        + ",\n".join(ours)
        + "\n}\n"
    )


def _checklist(recipe: Recipe, record: dict[str, Any], chosen: dict[str, Any] | None, sentence: str, run: Path) -> str:
    rows = [
        [question, str(answer) if answer not in (None, "") else UNKNOWN]
        for question, answer in _answers(recipe, record, chosen, run)
    ]
    return "\n".join(
        [
            f"# Checklist: {text(recipe.name)}",
            "",
            f"**{text(sentence)}**",
            "",
            "Each answer is from the run's own files. What they do not hold says so.",
            "",
            table(["question", "answer"], rows),
            "",
        ]
    )


def _answers(
    recipe: Recipe, record: dict[str, Any], chosen: dict[str, Any] | None, run: Path
) -> Iterator[tuple[str, Any]]:
    seconds = [row["seconds"] for row in run_files.read(run, "timings") if "seconds" in row]
    extracted = [row["extraction_seconds"] for row in run_files.read(run, "timings") if "extraction_seconds" in row]
    environment = {key: value for key, value in record.get("environment", {}).items() if value is not None}
    yield (
        "What is claimed?",
        f"the values of {len(recipe.expected)} published numbers, each with a band"
        if recipe.expected
        else "nothing published",
    )
    yield "Is the code that ran known?", _program(record)
    yield (
        "... to the byte?",
        f"sha256 over its source files {record['source_sha256']}" if record.get("source_sha256") else None,
    )
    yield "Are the dependencies stated?", f"{len(record.get('versions', {}))} packages with their versions, in run.json"
    yield "Are all settings stated?", f"fingerprint {record['fingerprint']}; show '{recipe.name}' --json prints them"
    for part in ("train", "test", "gallery"):
        if part in record["data"]:
            yield f"Which data ({part})?", _split(record, part)
    yield "Licence and consent of the data?", None
    yield (
        "Which weights did it start from?",
        json.dumps(record["weights"]) if record.get("weights") else "none: seeded initial values",
    )
    yield "Are random seeds stated?", f"seed {record['seed']}"
    yield "How many runs, with which spread?", f"one run; a spread is {UNKNOWN}"
    yield "Which hardware?", ", ".join([str(record["device"]), *(f"{k} {v}" for k, v in environment.items())])
    yield (
        "How long did it take?",
        f"{minutes(sum(seconds))} of steps, {minutes(sum(extracted))} of embedding for evaluations"
        if seconds
        else None,
    )
    yield "Energy and emissions?", None
    yield (
        "How is it evaluated?",
        f"{recipe.evaluation.protocol}, K = {recipe.evaluation.ks}, ties {recipe.evaluation.ties}",
    )
    yield (
        "Are counts given besides percentages?",
        "evaluations.jsonl" if chosen is not None and chosen.get("hits") else None,
    )
    yield (
        "Which published values are there?",
        f"{len(published_rows(recipe))} rows of the paper's own method, with their sources, in report.md",
    )
    yield (
        "How was training broken off or resumed?",
        "; ".join(f"{e['event']} at {e.get('iteration')}" for e in record.get("history", ())),
    )
    yield "Are the files sealed?", "manifest.json, a sha256 of each" if (run / "manifest.json").is_file() else None
