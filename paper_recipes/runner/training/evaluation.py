"""An evaluation in the course of a run: embeddings, scores, what the report shows of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paper_recipes.runner import manifest
from paper_recipes.runner.data.batches import test_batches
from paper_recipes.runner.engines.engine import Embedder
from paper_recipes.runner.files import read_json, write_json
from paper_recipes.runner.scoring import clustering, insight, neighbours, saved, sharded
from paper_recipes.runner.scoring import scores as scoring
from paper_recipes.runner.training.state import Run


def evaluate_now(run: Run, iteration: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Score the test set; returns what belongs into evaluations.jsonl and timings.jsonl. All processes call it."""
    started = time.perf_counter()
    first = iteration == 0
    if first:
        untrained(run)
    else:
        run.engine.begin_embedding()
    queries, gallery = embeddings(run, scoring.WithRawPixels(run.engine) if first else run.engine)
    extracted = time.perf_counter() - started
    if first:
        take = scoring.WithRawPixels.take
        _baseline(run, take(queries) or {}, take(gallery), say)
    scores = _score(run, queries, gallery)
    headline = run.engine.headline
    if run.replicas.root:
        both = insight.headline_sides(run.recipe, queries, gallery, run.data)
        neighbours.write(run.out / "neighbours.json", both, run.data, iteration)
        _keep_distances(run, both, iteration)
        kept = saved.save_evaluation(run.out, queries, gallery, run.data, iteration)
        manifest.seal(run.out, "neighbours.json", insight.DISTANCES, *kept)
        if iteration == run.plan.iterations and run.plan.form == "embedded":
            clustering.at_the_end(run.recipe, queries, gallery, run.data, run.out, say)
            manifest.seal(run.out, "clustering.json")
    shown = "  ".join(f"{k} {v:.1f}" for k, v in scores.metrics[headline].items())
    say(f"iteration {iteration}: {headline} {shown} on {scores.queries} images of unseen classes")
    if (near := scores.near_words(headline)) is not None:
        say(near)
    timings = {"extraction_seconds": extracted, "images": run.data.images_to_embed}
    return {"evaluations": scores.as_json(), "timings": timings}


def _keep_distances(run: Run, both: insight.Sides, iteration: int) -> None:
    """The first evaluation's stay; a resume replaces what comes after its checkpoint."""
    path = run.out / insight.DISTANCES
    earlier = [row for row in (read_json(path) or {"rows": []})["rows"] if row["iteration"] < iteration]
    row = {"iteration": iteration, "map_at_r": insight.map_at_r(both), **insight.distances(both)}
    write_json(path, {"rows": [*earlier[:1], row]})


def untrained(run: Run) -> None:
    """What an evaluation before the first step does to the network: its statistics come from a few training images."""
    run.engine.begin_embedding(_calibration(run))


def embeddings(run: Run, engine: Embedder) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]] | None]:
    """Queries and, where the protocol has one, gallery. Of several processes each takes its share."""
    return scoring.embed_data(
        engine, run.data, run.pipeline, run.recipe.evaluation,
        device=run.device, workers=run.workers, embed=sharded.embed(run.replicas),
    )  # fmt: skip


def _score(run: Run, queries: dict[str, NDArray[Any]], gallery: dict[str, NDArray[Any]] | None) -> scoring.Scores:
    recall = sharded.recall(run.replicas)
    return scoring.score(queries, gallery, run.data, run.recipe.evaluation, recall=recall)


def _calibration(run: Run) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Training images in test form, for the BatchNorm statistics of an untrained net: 4 batches spread over the split."""
    size = min(run.plan.sampler.batch_size, len(run.data.train))
    index = np.linspace(0, len(run.data.train) - 1, 4 * size).astype(int)
    split = run.data.train.subset(index)
    batches = test_batches(split, run.pipeline, batch_size=size, device=run.device, workers=run.workers)
    for images in batches:
        yield images, torch.zeros(len(images))


def _baseline(
    run: Run, queries: dict[str, NDArray[Any]], gallery: dict[str, NDArray[Any]] | None, say: Callable[[str], None]
) -> None:
    """Raw pixels: what a network must beat to have learnt anything."""
    scores = _score(run, queries, gallery)
    if run.replicas.root:
        write_json(run.out / "raw_pixels.json", scores.as_json())
        manifest.seal(run.out, "raw_pixels.json")
    say("raw pixels: " + "  ".join(f"{k} {v:.1f}" for k, v in scores.metrics["raw pixels"].items()))
