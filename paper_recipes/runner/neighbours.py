"""Nearest neighbours of a few queries, for the report's picture grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paper_recipes.runner.files import write_json
from ports.datasets.split import Split

QUERIES, NEIGHBOURS = 8, 5


def write(path: Path, embeddings: np.ndarray, split: Split, iteration: int) -> None:
    """Five nearest neighbours (cosine, the query itself left out) of eight queries spread over the split."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    queries = np.unique(np.linspace(0, len(split) - 1, QUERIES).astype(int))
    files = split.files()
    rows = []
    for query in queries:
        similarity = unit @ unit[query]
        similarity[query] = -np.inf
        nearest = np.argsort(-similarity, kind="stable")[:NEIGHBOURS]
        rows.append(
            {
                "query": str(files[query]),
                "label": int(split.labels[query]),
                "neighbours": [
                    {"file": str(files[n]), "label": int(split.labels[n]), "cosine": float(similarity[n])}
                    for n in nearest
                ],
            }
        )
    write_json(path, {"iteration": iteration, "rows": rows})
