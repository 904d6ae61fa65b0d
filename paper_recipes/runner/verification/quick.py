"""The quick part: what the files of a run say is held against each other, the recipe and the manifest. No picture, no network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paper_recipes import lock
from paper_recipes.recipe import Recipe
from paper_recipes.runner import manifest
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.engines import schedule
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.scoring import letters_band
from paper_recipes.runner.scoring import verdict as verdicts
from paper_recipes.runner.verification import recount
from paper_recipes.runner.verification.facts import Facts, rows
from paper_recipes.runner.verification.statement import Statement, Unchecked, stated


def statements(facts: Facts, *, of_file: Any = None) -> list[Statement]:
    """In the order in which one rests on the other. `of_file`: the sha256 of a file, or one that remembers."""
    recipe, done = facts.recipe, facts.done
    remembering = {} if of_file is None else {"of_file": of_file}
    return [
        stated("recipe", f"{recipe.name} as it is now, fingerprint {recipe.fingerprint()[:16]}", _recipe(facts)),
        stated("steps", f"one line for each of {done:,} iterations, finite", _steps(facts)),
        stated("learning rate", "each step's is the recipe's", _rates(facts)),
        stated("evaluations", "at the plan's iterations; each percentage is its count of hits", _evaluations(facts)),
        stated("result and verdict", "those of the evaluations", _result(facts)),
        stated("checkpoints", "at the plan's iterations; of this recipe, form and seed", _checkpoints(facts)),
        stated("manifest", f"{len(_sealed(facts.out))} files as they were written", _manifest(facts, remembering)),
        stated("stored embeddings", "give the hits and the MAP@R of the last evaluation", recount.wrong(facts)),
    ]


def _recipe(facts: Facts) -> Iterator[str]:
    record, recipe = facts.record, facts.recipe
    if record["fingerprint"] != recipe.fingerprint():
        yield f"run.json: fingerprint {record['fingerprint'][:16]}, {recipe.name} has {recipe.fingerprint()[:16]}"
    if not recipe.derived_from and (locked := lock.read().get(recipe.name)) not in (None, recipe.fingerprint()):
        yield f"{recipe.name} is not as locked: its fingerprint is {recipe.fingerprint()[:16]}, locked is {str(locked)[:16]}"
    if record["form"] != facts.plan.label or record["iterations"] != facts.plan.iterations:
        yield f"run.json: form {record['form']} of {record['iterations']} iterations, its plan says {facts.plan.label} of {facts.plan.iterations}"
    if facts.plan.form == "full":
        frozen = scales.full(recipe)
        for part in ("sampler", "iterations", "snapshots", "evaluations"):
            if getattr(facts.plan, part) != getattr(frozen, part):
                yield f"run.json: the plan's {part} are not those of the frozen recipe"


def _steps(facts: Facts) -> Iterator[str]:
    steps = rows(facts.out, "steps")
    for number, row in enumerate(steps, 1):
        if row["iteration"] != number:
            yield f"steps.jsonl: line {number} is of iteration {row['iteration']}: a line is missing, or one too many"
        wrong = [name for name, value in row["losses"].items() if not math.isfinite(value)]
        if wrong or not row["losses"]:
            yield f"steps.jsonl: line {number}: {', '.join(wrong) or 'no loss at all'} not finite"
        if row["losses"].keys() != steps[0]["losses"].keys():
            yield f"steps.jsonl: line {number} has the losses {', '.join(row['losses'])}, line 1 {', '.join(steps[0]['losses'])}"
    if len(steps) != facts.done:
        yield f"steps.jsonl: {len(steps)} lines, the run says that it has done {facts.done} iterations"


def _rates(facts: Facts) -> Iterator[str]:
    rates = schedule.rates(facts.recipe, facts.plan, int(facts.record["data"]["train"]["images"]))
    for row, rate in zip(rows(facts.out, "steps"), rates):
        if row["lr"] != rate:
            yield f"steps.jsonl: iteration {row['iteration']} has the learning rate {row['lr']:g}, the recipe's is {rate:g}"


def _evaluations(facts: Facts) -> Iterator[str]:
    evaluations = rows(facts.out, "evaluations")
    found = [row["iteration"] for row in evaluations]
    wanted = [iteration for iteration in sorted(facts.plan.evaluations) if iteration <= facts.done]
    for number, row in enumerate(evaluations, 1):
        yield from miscounts(row, f"evaluations.jsonl: line {number}")
        if set(row["metrics"]) != set(facts.recipe.embeddings) or set(row["hits"]) != set(row["metrics"]):
            yield f"evaluations.jsonl: line {number} scores {', '.join(row['metrics'])}, the recipe {', '.join(facts.recipe.embeddings)}"
    # The evaluation of the iteration that a run was killed or diverged in may be missing.
    may_miss = 0 if facts.record["status"] == "finished" else 1
    if found != wanted[: len(found)] or len(wanted) - len(found) > may_miss:
        yield f"evaluations.jsonl: evaluations at {found}, the plan has them at {wanted}"


def miscounts(row: dict[str, Any], where: str, *, uncounted: bool = False) -> Iterator[str]:
    """Percentages that are not their hits of the queries. uncounted: a recall may have no count, as in old runs."""
    for name, metrics in row["metrics"].items():
        counts = row["hits"].get(name, {}) if uncounted else row["hits"][name]
        for metric, value in metrics.items():
            if not math.isfinite(value):
                yield f"{where}: {name} {metric} is {value}"
            if metric not in counts:
                if metric.startswith("R@") and not uncounted:
                    yield f"{where}: {name} {metric} is {value} without a count of hits"
                continue
            hits, queries = counts[metric], row["queries"]
            if not 0 <= hits <= queries or abs(100 * hits / queries - value) > verdicts.ROUNDING:
                yield f"{where}: {name} {metric} is {value}, its {hits} hits of {queries} queries are {100 * hits / queries:.6g}"


def _result(facts: Facts) -> Iterator[str]:
    record, evaluations = facts.record, rows(facts.out, "evaluations")
    if record["status"] != "finished":
        raise Unchecked(f"the run did not finish: {record['status']}")
    if record["result"] != evaluations[-1]:
        yield "run.json: its result is not the last line of evaluations.jsonl"
    said, word = record["verdict"], _word(facts.recipe, record, evaluations)
    if said != word:
        yield f"run.json: its verdict is {said!r}, its evaluations say {word!r}"
    held = letters_band.check(facts.recipe, record, evaluations)
    if record.get("letters_band") != (within := None if held is None else held.word):
        yield f"run.json: of the letters band it says {record.get('letters_band')!r}, its evaluations say {within!r}"


def _word(recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]]) -> str | None:
    objection = weights_link.objection(recipe, record["weights"])
    result = verdicts.verify(recipe, evaluations, objection=objection) if record["form"] == "full" else None
    return None if result is None else result.word


def _checkpoints(facts: Facts) -> Iterator[str]:
    for iteration in sorted(facts.plan.snapshots):
        if iteration <= facts.done and not checkpoints.path_of(facts.out / "checkpoints", iteration).is_file():
            yield f"checkpoints: the one of iteration {iteration:,} is missing"
    for path in reversed(checkpoints.newest_first(facts.out / "checkpoints")):
        try:
            state = checkpoints.state_of(path)
        except checkpoints.CheckpointError as error:
            yield str(error)
            continue
        yield from strange(facts, path, state)


def strange(facts: Facts, path: Path, state: dict[str, Any]) -> Iterator[str]:
    """What a checkpoint says of itself that the run does not say."""
    record = facts.record
    said = {key: record[key] for key in ("fingerprint", "seed", "form", "replicas")}
    said["iteration"] = int(path.stem.split("_")[1])
    for key, value in said.items():
        if state.get(key) != value:
            yield f"checkpoints/{path.name}: its {key} is {state.get(key)!r}, the run's is {value!r}"


def _sealed(out: Path) -> dict[str, Any]:
    try:
        return manifest.read(out)
    except ValueError:
        return {}


def _manifest(facts: Facts, remembering: dict[str, Any]) -> Iterator[str]:
    sealed = manifest.read(facts.out)
    if not sealed:
        yield "manifest.json is missing"
    yield from manifest.differences(facts.out, **remembering)
    if facts.record["status"] != "finished":
        return  # what a killed run wrote after its last seal
    there = {f"checkpoints/{path.name}" for path in checkpoints.newest_first(facts.out / "checkpoints")}
    there |= {"run.json", "steps.jsonl", "evaluations.jsonl"}
    for name in sorted(there - sealed.keys()):
        yield f"{name} is not in the manifest"
    for name in ("steps.jsonl", "evaluations.jsonl"):
        if (facts.out / name).stat().st_size != sum(part["bytes"] for part in sealed[name]["parts"]):
            yield f"{name} has grown since the run ended"
