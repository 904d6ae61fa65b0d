"""Run directories as a run leaves them, as far as a report reads them, with embeddings that are made up: classes are clusters."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from paper_recipes import registry
from paper_recipes.runner.scoring import insight, neighbours, saved
from ports.datasets.split import Split

CHAIN = [
    {"link": "weights", "reference": "none", "verdict": "none: the run started from seeded initial weights"},
    {
        "link": "images: resize",
        "reference": "MATLAB's imresize",
        "worst error": "4.5e-13",
        "verdict": "verified on recorded data",
    },
    {"link": "sampler", "reference": "authors' sampler, read", "worst error": "0", "verdict": "rule verified"},
    {"link": "loss gradient", "reference": "authors' layer", "worst error": "0.3", "verdict": "WRONG"},
]


def make(
    out: Path,
    *,
    name: str = "ms-cub",
    form: str = "own",
    classes: int = 8,
    each: int = 6,
    names: list[str] | None = None,
    iterations: tuple[int, ...] = (0, 5, 10),
    **changes: Any,
) -> Path:
    """`iterations`: those that were evaluated; the classes part with each of them. `changes`: of run.json."""
    recipe = registry.get(name)
    rng = np.random.default_rng(0)
    out.mkdir(parents=True)
    labels = np.repeat(np.arange(classes), each)
    titles = {str(k): n for k, n in enumerate(names or [f"class {k}" for k in range(classes)])}
    facts = {"images": len(labels), "classes": classes, "fingerprint": "0" * 64}
    record = {
        "recipe": recipe.name, "form": form, "fingerprint": recipe.fingerprint(), "seed": 1, "device": "cpu", "git_sha": None,
        "git_dirty": None, "versions": {}, "environment": {}, "weights": None, "status": "finished", "iterations": 10,
        "batch": "12 = 4 classes x 3 images",
        "data": {"name": "own folder mine", "train": facts, "test": facts, "class_names": titles},
    } | changes  # fmt: skip
    (out / "run.json").write_text(json.dumps(record))
    steps = [{"iteration": i, "lr": 0.01 if i < 6 else 0.001, "losses": {"loss": 1.0 / i}} for i in range(1, 11)]
    _lines(out / "steps.jsonl", steps)
    if not iterations:
        return out
    test = _pictures(out / "pictures", labels)
    data = SimpleNamespace(test=test, gallery=None)
    centres = rng.normal(size=(classes, 16))
    rows, kept = [], []
    for iteration in iterations:
        values = rng.normal(size=(len(labels), 16)) + (0.2 + iteration / 12) * centres[labels]
        queries = {recipe.embeddings[0]: values.astype(np.float32)}
        both = insight.sides(queries, None, data, recipe.embeddings[0], cameras=False)
        hits = sum(one.hits for one in insight.recall_by_class(both))
        score = {"R@1": 100 * hits / len(labels), "R@2": 100 * min(1, 1.1 * hits / len(labels))}
        rows.append(
            {
                "iteration": iteration,
                "metrics": {recipe.embeddings[0]: score},
                "hits": {recipe.embeddings[0]: {"R@1": hits}},
            }
            | {"queries": len(labels)}
        )
        row = {"iteration": iteration, "map_at_r": insight.map_at_r(both), **insight.distances(both)}
        kept = [*kept[:1], row]
    _lines(out / "evaluations.jsonl", rows)
    (out / "distances.json").write_text(json.dumps({"rows": kept}))
    neighbours.write(out / "neighbours.json", both, data, iterations[-1])
    saved.save_evaluation(out, queries, None, data, iterations[-1])
    return out


def _pictures(root: Path, labels: np.ndarray) -> Split:
    """A file for each item; those of a class (modulo a hundred) are links to one picture."""
    root.mkdir()
    for label in range(min(int(labels.max()) + 1, 100)):
        noise = np.random.default_rng(label).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 48)).save(root / f"class_{label}.png")
    for place, label in enumerate(labels.tolist()):
        os.link(root / f"class_{label % 100}.png", root / f"{place}.png")
    return Split([f"{place}.png" for place in range(len(labels))], labels, "test", root)


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
