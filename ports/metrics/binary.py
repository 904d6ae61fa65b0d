"""Retrieval with one bit per dimension, as the classification baseline evaluates it (`evaluation/retrieval.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ports.metrics.finite import check_rows
from ports.metrics.retrieval import RecallResult, recall_at_k


def signs(embeddings: Any, name: str = "embeddings") -> torch.Tensor:
    """(N, D) -> (N, D) float32 of +1 where the value is greater than 0 and -1 elsewhere (zero counts as negative).

    The inner product of two rows is D - 2 x their Hamming distance, a whole number, exact in float32 up to D = 2^24.
    Raises ValueError, under `name`, for rows that are not finite.
    """
    x = embeddings if isinstance(embeddings, torch.Tensor) else torch.from_numpy(np.asarray(embeddings))
    check_rows(x, name)
    return (x > 0).to(torch.float32) * 2 - 1


def hamming_recall_at_k(
    embeddings: Any,
    labels: Any,
    ks: Iterable[int],
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    ties: str = "matlab",
    device: torch.device | str | None = None,
) -> RecallResult:
    """Recall@K by the Hamming distance of the signs; arguments as `recall_at_k`.

    Most Hamming distances tie. The original searches with faiss, whose exact CPU index keeps the order of the gallery:
    the same rule as "matlab". "optimistic" and "pessimistic" give the range that other orders can reach.
    """
    return recall_at_k(
        signs(embeddings),
        labels,
        ks,
        gallery=None if gallery is None else signs(gallery, "gallery"),
        gallery_labels=gallery_labels,
        ties=ties,
        normalize=False,
        device=device,
    )
