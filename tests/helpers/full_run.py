"""A whole full run as `run` leaves it, without training: every line, checkpoint and seal that its verification looks at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from paper_recipes import registry
from paper_recipes.recipe import Recipe
from paper_recipes.runner import manifest
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.engines import checkpoint as checkpoints
from paper_recipes.runner.engines import schedule
from paper_recipes.runner.evidence import weights_link
from paper_recipes.runner.scoring import verdict

QUERIES = 100_000
_IMAGES = 59_551  # of SOP's training set; a PyTorch recipe's schedule does not depend on it in full


def evaluation(recipe: Recipe, iteration: int, shift: float = 0.0) -> dict[str, Any]:
    """The published values as hit counts of 100,000 queries, `shift` points off; hits are whole, so are thousandths."""
    metrics: dict[str, dict[str, float]] = {name: {} for name in recipe.embeddings}
    hits: dict[str, dict[str, int]] = {name: {} for name in recipe.embeddings}
    for e in recipe.expected:
        count = round((e.value + shift) * QUERIES / 100)
        metrics[e.embedding][e.metric] = 100 * count / QUERIES
        hits[e.embedding][e.metric] = count
    return {"iteration": iteration, "metrics": metrics, "hits": hits, "queries": QUERIES}


def evaluations(recipe: Recipe, shift: float = 0.0) -> list[dict[str, Any]]:
    """At every iteration of the plan."""
    return [evaluation(recipe, iteration, shift) for iteration in sorted(scales.full(recipe).evaluations)]


def weights(recipe: Recipe, digest: str | None = None) -> dict[str, Any]:
    """A record's entry: of the recipe's own file, or of the file with that sha256, which only its name makes the recipe's."""
    digest = recipe.weights_sha256.ljust(64, "0") if digest is None else digest
    images = {"recipes_images": "B,G,R", "own_images": "B,G,R"}
    return {"file": f"/x/{recipe.weights.split()[0]}", "sha256": digest, **images}


def write(folder: Path, name: str = "rll-sop", *, rows: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """rows: of evaluations.jsonl. changes: of run.json."""
    recipe = registry.get(name)
    plan = scales.full(recipe)
    rows = evaluations(recipe) if rows is None else rows
    record = {
        "recipe": recipe.name,
        "form": "full",
        "fingerprint": recipe.fingerprint(),
        "seed": recipe.seed,
        "status": "finished",
        "git_sha": "0123456789abcdef",
        "git_dirty": False,
        "versions": {},
        "device": "cpu",
        "environment": {},
        "batch": f"{recipe.sampler.batch_size}",
        "data": {"name": recipe.dataset, "train": {"images": _IMAGES, "classes": 11_318, "fingerprint": "0" * 64}},
        "weights": weights(recipe),
        "comparable": True,
        "replicas": None,
        "iterations": plan.iterations,
        "plan": scales.as_json(plan),
        "result": rows[-1] if rows else None,
    } | changes
    if "verdict" not in record:
        objection = weights_link.objection(recipe, record["weights"])
        found = verdict.verify(recipe, rows, objection=objection)
        record["verdict"] = None if found is None else found.word
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    _lines(folder / "evaluations.jsonl", rows)
    steps = enumerate(schedule.rates(recipe, plan, _IMAGES), 1)
    _lines(folder / "steps.jsonl", [{"iteration": i, "lr": rate, "losses": {"loss": 1.0}} for i, rate in steps])
    state = {key: record[key] for key in ("fingerprint", "seed", "form")}
    for iteration in plan.snapshots:
        saved = checkpoints.Checkpoint({"weight": torch.zeros(1)}, {"iteration": iteration, **state})
        checkpoints.save(checkpoints.path_of(folder / "checkpoints", iteration), saved)
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    """Every file as it is now."""
    manifest.begin(folder)
    manifest.seal(folder, *(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()))


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
