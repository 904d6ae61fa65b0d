"""Embeddings of a split and the paper's metrics on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from paper_recipes.recipe import Evaluation
from paper_recipes.runner import loading
from ports.datasets.split import Split
from ports.metrics.retrieval import recall_at_k


@dataclass
class Scores:
    """`metrics[test net]["R@1"]` in percent, `hits[test net]["R@1"]` of `queries` as exact counts."""

    metrics: dict[str, dict[str, float]]
    hits: dict[str, dict[str, int]]
    queries: int

    def as_json(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "hits": self.hits, "queries": self.queries}


def embed(
    engine: Any, split: Split, pipeline: Any, *, batch_size: int, device: torch.device, workers: int | None = None
) -> dict[str, np.ndarray]:
    """Raw embeddings of a whole split by test net, (len(split), D) float32. Call `engine.begin_embedding` before."""
    parts: dict[str, list[np.ndarray]] = {}
    batches = loading.test_batches(split, pipeline, batch_size=batch_size, device=device, workers=workers)
    with tqdm(total=len(split), unit="img", desc=f"embedding {split.name}", leave=False) as progress:
        for images in batches:
            for name, values in engine.embed(images).items():
                parts.setdefault(name, []).append(values.numpy())
            progress.update(len(images))
    return {name: np.concatenate(values) for name, values in parts.items()}


def score(embeddings: dict[str, np.ndarray], labels: np.ndarray, evaluation: Evaluation) -> Scores:
    """Recall@K of each set of embeddings, by the paper's protocol."""
    metrics: dict[str, dict[str, float]] = {}
    hits: dict[str, dict[str, int]] = {}
    for name, values in embeddings.items():
        result = recall_at_k(values, labels, evaluation.ks, ties=evaluation.ties)
        metrics[name] = {f"R@{k}": 100 * float(result[k]) for k in evaluation.ks}
        hits[name] = {f"R@{k}": int(result.hits[k]) for k in evaluation.ks}
    return Scores(metrics, hits, len(labels))


def raw_pixels(split: Split, pipeline: Any, *, batch_size: int, device: torch.device, side: int = 32) -> np.ndarray:
    """The baseline a network must beat: the test crops as grey `side` x `side` pictures, mean picture subtracted."""
    pictures = [
        torch.nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), side).flatten(1).numpy()
        for images in loading.test_batches(split, pipeline, batch_size=batch_size, device=device)
    ]
    pixels = np.concatenate(pictures)
    return pixels - pixels.mean(0)
