"""Nearest neighbours of a few queries, for the report's picture grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.files import write_json

QUERIES, NEIGHBOURS = 8, 5


def write(
    path: Path,
    queries: dict[str, NDArray[Any]],
    gallery: dict[str, NDArray[Any]] | None,
    data: Data,
    embedding: str,
    iteration: int,
) -> None:
    """Five nearest neighbours (cosine, a query's own picture left out) of eight queries spread over the test set."""
    items = data.test if data.gallery is None else data.gallery
    unit = _unit(queries[embedding])
    target = unit if gallery is None else _unit(gallery[embedding])
    files, item_files = data.test.files(), items.files()
    rows = []
    for query in np.unique(np.linspace(0, len(data.test) - 1, QUERIES).astype(int)):
        similarity = target @ unit[query]
        similarity[[name == files[query] for name in item_files]] = -np.inf
        nearest = np.argsort(-similarity, kind="stable")[:NEIGHBOURS]
        rows.append(
            {
                "query": files[query],
                "label": int(data.test.labels[query]),
                "neighbours": [
                    {"file": item_files[n], "label": int(items.labels[n]), "cosine": float(similarity[n])}
                    for n in nearest
                ],
            }
        )
    write_json(path, {"iteration": iteration, "rows": rows})


def _unit(embeddings: NDArray[Any]) -> NDArray[Any]:
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
