"""What was seen of each recipe, as JSON and as the table of docs/determinism.md."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from paper_recipes.recipe import Recipe
from tools.cuda import documented
from tools.cuda.recorder import REPO, Recorder
from tools.cuda.steps import Found

AUDIT = Path(__file__).with_name("audit.json")
DOCS = REPO / "docs" / "determinism.md"
BEGIN, END = "<!-- python -m tools.cuda writes from here -->", "<!-- to here -->"
COLUMNS = (
    "recipes",
    "batch",
    "would raise",
    "switched to a deterministic way",
    "waits in a step",
    "waits in an evaluation",
)


def finding(recipe: Recipe, found: Found) -> dict[str, Any]:
    """JSON types. Waits: place -> how often."""
    work = (found.step, found.evaluation)
    return {
        "batch": recipe.sampler.batch_size,
        "raises": sorted({line for recorder in work for line in raises(recorder)}),
        "switches": sorted({name for recorder in work for name in switches(recorder)}),
        "products": any(name in documented.CUBLAS for recorder in work for name, _ in recorder.operations),
        "strays": sorted({stray for recorder in work for stray in recorder.strays}),
        "waits": dict(sorted(found.step.waits.items())),
        "evaluation_waits": dict(sorted(found.evaluation.waits.items())),
    }


def raises(recorder: Recorder) -> list[str]:
    """Operations that torch documents as raising: which, by which of its names, from where."""
    known, lines = documented.raising(), []
    for name, detail in recorder.operations:
        if (listed := documented.judged(name, detail, known)) is not None:
            places = ", ".join(sorted(recorder.places[name, detail]))
            lines.append(f"{name}{f' ({detail})' if detail else ''}, documented as {listed}: {places}")
    return lines


def switches(recorder: Recorder) -> set[str]:
    """Documented names of what torch does in another, deterministic way when it is asked to."""
    names = {documented.SWITCHES[name] for name, _ in recorder.operations if name in documented.SWITCHES}
    return names | ({"convolution"} if any(name in documented.CUDNN for name, _ in recorder.operations) else set())


def markdown(recipes: dict[str, dict[str, Any]]) -> str:
    """One row for all recipes of which the same was seen."""
    groups: dict[str, list[str]] = {}
    for name, facts in recipes.items():
        groups.setdefault(json.dumps(facts), []).append(name)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for text, names in groups.items():
        facts = json.loads(text)
        cells = [
            together(names), str(facts["batch"]), "; ".join(facts["raises"]) or "nothing",
            ", ".join(facts["switches"]), said(facts["waits"]), said(facts["evaluation_waits"]),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def together(names: list[str]) -> str:
    """rll-sop, rll-sop-m10; a data set that ends several names stands once: dm-nca-{cub, cars196}."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stem, _, last = name.rpartition("-")
        stems.setdefault(stem, []).append(last)
    return ", ".join(
        f"{stem}-{ends[0]}" if len(ends) == 1 else f"{stem}-{{{', '.join(ends)}}}" for stem, ends in stems.items()
    )


def said(waits: dict[str, int]) -> str:
    """How many in all, and where."""
    files: Counter[str] = Counter()
    for place, count in waits.items():
        files[Path(place.split(":")[0]).stem] += count
    return f"{files.total()} ({', '.join(f'{file} {count}' for file, count in files.items())})"


def write_into_docs() -> None:
    recipes = json.loads(AUDIT.read_text(encoding="utf-8"))["recipes"]
    before, rest = DOCS.read_text(encoding="utf-8").split(BEGIN)
    DOCS.write_text(f"{before}{BEGIN}\n\n{markdown(recipes)}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
