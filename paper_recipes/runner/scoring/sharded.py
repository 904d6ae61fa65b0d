"""Feature extraction and recall@K by several processes, equal to what one process computes, to the bit.

Test images are cut between whole batches, so that each batch holds what it holds in a run of one process (a convolution may
round differently in a batch of another size). Queries are cut anywhere: `recall_at_k` compares exactly in any part.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from paper_recipes.runner.engines.engine import Embedder
from paper_recipes.runner.engines.processes import Replicas
from paper_recipes.runner.scoring import scores
from ports.datasets.split import Split
from ports.images import Pipeline
from ports.metrics.retrieval import RecallResult, recall_at_k


def embed(replicas: Replicas) -> Any:
    """`evaluate.embed`, every process with its share of the images; all of them get all embeddings."""
    return scores.embed if replicas.world == 1 else partial(_embed, replicas)


def _embed(
    replicas: Replicas, engine: Embedder, split: Split, pipeline: Pipeline, *, batch_size: int, **options: Any
) -> dict[str, NDArray[Any]]:
    batches = -(-len(split) // batch_size)
    # Rounded up, so that the root, which knows the widths for everybody, always has a batch.
    edges = [min(-(-batches * r // replicas.world) * batch_size, len(split)) for r in range(replicas.world + 1)]
    low, high = edges[replicas.rank], edges[replicas.rank + 1]
    own: dict[str, NDArray[Any]] = {}
    if low < high:
        part = split.subset(np.arange(low, high))
        own = scores.embed(engine, part, pipeline, batch_size=batch_size, progress=replicas.root, **options)
    shapes = replicas.from_root({name: (values.shape[1], values.dtype) for name, values in own.items()})
    whole = {name: np.empty((len(split), width), dtype) for name, (width, dtype) in shapes.items()}
    for name, values in whole.items():
        if low < high:
            values[low:high] = own[name]
        for rank, (start, stop) in enumerate(pairwise(edges)):
            if start < stop:
                dist.broadcast(torch.from_numpy(values[start:stop]), rank)
    return whole


def recall(replicas: Replicas) -> Any:
    """`recall_at_k`, every process with its share of the queries; all of them get the result over all queries."""

    def shared(embeddings: Any, labels: Any, ks: Iterable[int], **options: Any) -> RecallResult:
        ks = list(ks)
        # In the order of the labels: a block of queries then has its matches in a short run of the gallery.
        order = np.argsort(np.asarray(labels), kind="stable")
        rows = order[len(order) * replicas.rank // replicas.world : len(order) * (replicas.rank + 1) // replicas.world]
        hits = near = dict.fromkeys(ks, 0)
        if len(rows):
            part = recall_at_k(embeddings, labels, ks, query_rows=rows, **options)
            hits, near = part.hits, part.near
        totals = [int(n) for n in replicas.add([counts[k] for counts in (hits, near) for k in ks])]
        counted = [dict(zip(ks, half)) for half in (totals[: len(ks)], totals[len(ks) :])]
        return RecallResult(counted[0], len(order), options.get("ties", "matlab"), counted[1])

    return recall_at_k if replicas.world == 1 else shared
