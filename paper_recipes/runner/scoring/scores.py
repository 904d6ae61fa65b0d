"""Embeddings of a split and the paper's metrics on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paper_recipes.recipe import Evaluation, binary_name, multi_query_name, reranked_name
from paper_recipes.runner.data.batches import test_batches
from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.engines.engine import Embedder
from ports.datasets.split import Split
from ports.images import Pipeline
from ports.metrics import originals, reid
from ports.metrics.binary import hamming_recall_at_k
from ports.metrics.near import NEAR
from ports.metrics.reranking import k_reciprocal_distance
from ports.metrics.retrieval import recall_at_k
from ports.progress import bar as bar_of


@dataclass
class Scores:
    """`metrics[test net]["R@1"]` in percent, `hits[test net]["R@1"]` of `queries` as exact counts.

    near: likewise, the queries whose hit is decided by less than 1e-6 (`ports.metrics.near`), where there are any.
    """

    metrics: dict[str, dict[str, float]]
    hits: dict[str, dict[str, int]]
    queries: int
    near: dict[str, dict[str, int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"metrics": self.metrics, "hits": self.hits, "queries": self.queries, "near": self.near}

    def note(self, name: str, near: dict[int, int]) -> None:
        if some := {f"R@{k}": count for k, count in near.items() if count}:
            self.near[name] = some

    def near_words(self, name: str) -> str | None:
        """One line on the near-ties of an embedding; None where there are none."""
        if name not in self.near:
            return None
        counts = ", ".join(f"{count:,} at {metric}" for metric, count in self.near[name].items())
        limit = f"{NEAR:.0e}".replace("e-0", "e-")
        return f"{name}: of {self.queries:,} queries, {counts} are decided by less than {limit}: rounding, so another processor may differ"


def embed(
    engine: Embedder,
    split: Split,
    pipeline: Pipeline,
    *,
    batch_size: int,
    device: torch.device,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, NDArray[Any]]:
    """Raw embeddings of a whole split by test net, (len(split), D) float32. Call `engine.begin_embedding` before."""
    parts: dict[str, list[NDArray[Any]]] = {}
    batches = test_batches(split, pipeline, batch_size=batch_size, device=device, workers=workers)
    bar = bar_of(len(split), f"embedding {split.name}", "img", leave=False, wanted=progress)
    with bar:
        for images in batches:
            for name, values in engine.embed(images).items():
                parts.setdefault(name, []).append(values.numpy())
            bar.update(len(images))
    return {name: np.concatenate(values) for name, values in parts.items()}


def embed_data(
    engine: Embedder,
    data: Data,
    pipeline: Pipeline,
    evaluation: Evaluation,
    *,
    device: torch.device,
    workers: int | None = None,
    embed: Any = embed,
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]] | None]:
    """Embeddings of the queries and, where the protocol has one, of the gallery. `embed`: or one that shares the work.

    Of multiple queries the pooled embeddings stand beside those of the queries, under names of their own; the gallery is
    that of the embedding they were pooled from.
    """
    options: dict[str, Any] = {"batch_size": evaluation.batch_size, "device": device, "workers": workers}
    queries = embed(engine, data.test, pipeline, **options)
    gallery = None if data.gallery is None else embed(engine, data.gallery, pipeline, **options)
    if evaluation.multi_query and data.multi_query is not None:
        several = dict(queries)
        if data.multi_query is not data.test:
            several = embed(engine, data.multi_query, pipeline, **options)
        for how in evaluation.multi_query:
            for name in [name for name in several if name != WithRawPixels.NAME]:
                pooled = _of_several(queries[name], data.test, several[name], data.multi_query, how)
                queries[multi_query_name(name, how)] = pooled
    return queries, gallery


def _of_several(single: NDArray[Any], test: Split, several: NDArray[Any], images: Split, how: str) -> NDArray[Any]:
    """(Q, D) unit rows: each query's images pooled. A query without any stands for itself."""
    pooled, groups = reid.pool_queries(several, np.stack([images.labels, _cameras(images)], axis=1), how)
    row = {tuple(group): i for i, group in enumerate(groups.tolist())}
    sights = zip(test.labels.tolist(), _cameras(test).tolist())
    rows = np.array([row.get(sight, -1) for sight in sights])
    own = single / np.linalg.norm(single, axis=1, keepdims=True)
    return np.where(rows[:, None] >= 0, pooled[rows], own).astype(single.dtype)


def _cameras(split: Split) -> NDArray[Any]:
    if split.cameras is None:
        raise ValueError(f"{split.name}: multiple queries are those of one camera, but the data has no cameras")
    return split.cameras


def score(
    queries: dict[str, NDArray[Any]],
    gallery: dict[str, NDArray[Any]] | None,
    data: Data,
    evaluation: Evaluation,
    *,
    recall: Any = recall_at_k,
) -> Scores:
    """The paper's metrics of each set of embeddings, by its protocol. `recall`: `recall_at_k` or one that shares the work."""
    scores = Scores({}, {}, len(data.test))
    single = {multi_query_name(name, how): name for name in gallery or () for how in evaluation.multi_query}
    reranked = evaluation.reranked(name for name in gallery or () if name != WithRawPixels.NAME)
    for name, values in queries.items():
        other = None if gallery is None else gallery[single.get(name, name)]
        if evaluation.protocol == "reid":
            _reid(scores, name, values, other, data, evaluation, again=name in reranked)
            continue
        rule = {"recall_at_k": partial(recall, ties=evaluation.ties)}.get(evaluation.rule)
        _recall(scores, name, rule or getattr(originals, evaluation.rule), values, other, data, evaluation.ks)
        if evaluation.binary:
            rule = partial(hamming_recall_at_k, ties="matlab")
            _recall(scores, binary_name(name), rule, values, other, data, evaluation.ks)
    return scores


def _recall(
    scores: Scores,
    name: str,
    rule: Any,
    queries: NDArray[Any],
    gallery: NDArray[Any] | None,
    data: Data,
    ks: tuple[int, ...],
) -> None:
    where = {} if data.gallery is None else {"gallery": gallery, "gallery_labels": data.gallery.labels}
    result = rule(queries, data.test.labels, ks, **where)
    scores.metrics[name] = {f"R@{k}": 100 * float(result[k]) for k in ks}
    scores.hits[name] = {f"R@{k}": int(result.hits[k]) for k in ks}
    scores.note(name, result.near)


def _reid(
    scores: Scores,
    name: str,
    queries: NDArray[Any],
    gallery: NDArray[Any] | None,
    data: Data,
    evaluation: Evaluation,
    *,
    again: bool,
) -> None:
    """CMC and mAP. options: cameras (same camera is junk), junk_ids, tracklets (mean of the frames' raw features).

    again: also of the re-ranked distances, under a name of their own.
    """
    if data.gallery is None or gallery is None:
        raise ValueError("protocol 'reid' needs a gallery")
    options = evaluation.options
    sides = [(queries, data.test), (gallery, data.gallery)]
    if options.get("tracklets"):
        sides = [_tracklets(values, split) for values, split in sides]
    (q, query), (g, items) = sides
    who: dict[str, Any] = {"junk_ids": options.get("junk_ids", ())}
    if options.get("cameras"):
        who |= {"query_cams": query.cameras, "gallery_cams": items.cameras}
    rankings: dict[str, Any] = {name: reid.distance_blocks(q, g)}
    if again and evaluation.rerank["by"] == "expansion":
        neighbours = evaluation.rerank["neighbours"]
        rankings[reranked_name(name)] = reid.expanded_blocks(
            q, g, query.labels, items.labels, neighbours=neighbours, **who
        )
    elif again:
        settings = {key: evaluation.rerank[key] for key in ("k1", "k2", "lam")}
        rankings[reranked_name(name)] = k_reciprocal_distance(q, g, **settings)
    for label, distance in rankings.items():
        result = reid.evaluate(distance, query.labels, items.labels, **who)
        counted = len(q) - result.without_match
        if counted == 0:
            raise ValueError(
                f"{query.name}: no query has an item of its own in {items.name}, so that nothing can be counted"
            )
        scores.queries = counted
        curve = {k: float(result.cmc[min(k, len(result.cmc)) - 1]) for k in evaluation.ks}
        scores.metrics[label] = {**{f"R@{k}": 100 * share for k, share in curve.items()}, "mAP": 100 * result.mean_ap}
        scores.hits[label] = {f"R@{k}": round(share * counted) for k, share in curve.items()}
        scores.note(label, result.near(evaluation.ks))


def _tracklets(values: NDArray[Any], split: Split) -> tuple[NDArray[Any], Split]:
    """Mean of the frames' raw features and, of each tracklet, its first frame for identity and camera."""
    if split.tracks is None:
        raise ValueError(f"{split.name}: the protocol is of tracklets, but the data has none")
    _, first, code = np.unique(split.tracks, return_index=True, return_inverse=True)
    order = np.argsort(code.reshape(-1), kind="stable")
    starts = np.searchsorted(code.reshape(-1)[order], np.arange(len(first)))
    counts = np.diff([*starts, len(order)])[:, None]
    return np.add.reduceat(values[order], starts, axis=0) / counts, split.subset(first)


class WithRawPixels:
    """An engine that also embeds as raw pixels, the baseline a network must beat: the test crops as small grey pictures."""

    NAME = "raw pixels"

    def __init__(self, engine: Embedder, side: int = 32) -> None:
        self.engine, self.side = engine, side

    def embed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        grey = torch.nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), self.side).flatten(1)
        return {**self.engine.embed(images), self.NAME: grey.cpu()}

    @classmethod
    def take(cls, embeddings: dict[str, NDArray[Any]] | None) -> dict[str, NDArray[Any]] | None:
        """Remove the raw pixels from `embeddings` and return them alone: mean picture subtracted, unit norm."""
        if embeddings is None:
            return None
        pixels = embeddings.pop(cls.NAME)
        pixels = pixels - pixels.mean(0)
        return {cls.NAME: pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-12)}
