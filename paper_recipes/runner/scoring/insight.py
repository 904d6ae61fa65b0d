"""What embeddings look like: distances of positives and negatives, MAP@R, recall of each class, a map of the plane that holds most of them.

Everything goes by blocks of queries; no N x N matrix is held. Cosine of the headline embedding, as float32 rows of unit norm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.run_data import Data

#: Of a run directory: histograms and MAP@R of the first evaluation and of the latest.
DISTANCES = "distances.json"
#: Queries that histograms, MAP@R and the choice of neighbours look at, spread evenly over the test set.
SAMPLE = 2000
#: Items that the map's plane is fitted to, besides those of the classes that it colours, and that it shows.
SHOWN = 3000
#: Classes that a map colours (no more can be told apart), and items of each that it takes.
COLOURED, OF_EACH = 10, 100
#: Pictures that a map shows at their points, and how many of them fit side by side and one above the other.
THUMBNAILS, ACROSS, DOWN = 24, 11, 9
BINS = 50  # of Euclidean distance, from 0 to 2
_BLOCK = 256


def unit(embeddings: NDArray[Any]) -> NDArray[np.float32]:
    """(N, D) rows of norm 1; rows of zeros stay."""
    rows = np.asarray(embeddings, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def spread(count: int, wanted: int) -> NDArray[np.int64]:
    """At most `wanted` of `count` places, evenly spread, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


@dataclass(frozen=True)
class Sides:
    """Unit rows and labels of queries and items; `junk(query)` are the items that the protocol leaves out for it."""

    queries: NDArray[np.float32]
    labels: NDArray[Any]
    items: NDArray[np.float32]
    item_labels: NDArray[Any]
    #: of queries and items, where a camera's own shots are junk
    cameras: tuple[NDArray[Any], NDArray[Any]] | None = None
    same: bool = False  # queries and items are one set

    def blocks(
        self, chosen: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """(query places, similarities (B, items) with -inf at what is left out, whether the item is of the query's class)."""
        places = np.arange(len(self.queries)) if chosen is None else chosen
        for start in range(0, len(places), _BLOCK):
            rows = places[start : start + _BLOCK]
            similarity = self.queries[rows] @ self.items.T
            alike = self.labels[rows][:, None] == self.item_labels[None, :]
            if self.same:
                similarity[np.arange(len(rows)), rows] = -np.inf
            if self.cameras is not None:
                here, there = self.cameras
                similarity[alike & (here[rows][:, None] == there[None, :])] = -np.inf
            yield rows, similarity, alike


def sides(
    queries: dict[str, NDArray[Any]],
    gallery: dict[str, NDArray[Any]] | None,
    data: Data,
    embedding: str,
    *,
    cameras: bool,
) -> Sides:
    """Of the embedding of that name. `cameras`: the protocol leaves out what a query's own camera saw of its class."""
    mine = unit(queries[embedding])
    if gallery is None or data.gallery is None:
        return Sides(mine, np.asarray(data.test.labels), mine, np.asarray(data.test.labels), same=True)
    seen = (data.test.cameras, data.gallery.cameras)
    own = (
        (np.asarray(seen[0]), np.asarray(seen[1])) if cameras and seen[0] is not None and seen[1] is not None else None
    )
    return Sides(mine, np.asarray(data.test.labels), unit(gallery[embedding]), np.asarray(data.gallery.labels), own)


def headline_sides(
    recipe: Recipe, queries: dict[str, NDArray[Any]], gallery: dict[str, NDArray[Any]] | None, data: Data
) -> Sides:
    """Of the recipe's headline embedding, by its protocol."""
    cameras = bool(recipe.evaluation.options.get("cameras"))
    return sides(queries, gallery, data, recipe.embeddings[0], cameras=cameras)


def distances(both: Sides) -> dict[str, Any]:
    """Counts of pairs by Euclidean distance in `BINS` equal bins of [0, 2]: {"queries", "positive", "negative"}."""
    counts = {True: np.zeros(BINS, dtype=np.int64), False: np.zeros(BINS, dtype=np.int64)}
    chosen = spread(len(both.queries), SAMPLE)
    for _, similarity, alike in both.blocks(chosen):
        there = np.isfinite(similarity)
        away = np.sqrt(np.maximum(2 - 2 * np.where(there, similarity, 0), 0))
        place = np.minimum((away * (BINS / 2)).astype(np.int64), BINS - 1)
        for kind in (True, False):
            counts[kind] += np.bincount(place[there & (alike == kind)], minlength=BINS)
    return {"queries": len(chosen), "positive": counts[True].tolist(), "negative": counts[False].tolist()}


def overlap(found: dict[str, Any]) -> float | None:
    """Share of the two histograms that lies on each other, 0 to 1; None where one of them is empty."""
    positive, negative = np.array(found["positive"], float), np.array(found["negative"], float)
    if not positive.sum() or not negative.sum():
        return None
    return float(np.minimum(positive / positive.sum(), negative / negative.sum()).sum())


def map_at_r(both: Sides) -> float | None:
    """MAP@R in percent, of the queries that `distances` looks at; None where none of them has an item to find."""
    return in_percent(averages_at_r(both))


def in_percent(averages: list[float]) -> float | None:
    """Their mean; None of none."""
    return 100 * sum(averages) / len(averages) if averages else None


def averages_at_r(both: Sides) -> list[float]:
    """Average precision at R, 0 to 1, of each of these queries that has an item to find.

    `ports.metrics.map_at_r` without torch, which a report does not wait for, and but for the items that the protocol leaves out:
    they are neither found nor among the R. Equal similarities keep the order of the items.
    """
    found = []
    for _, similarity, alike in both.blocks(spread(len(both.queries), SAMPLE)):
        there = np.isfinite(similarity)
        for row, own in zip(np.where(there, similarity, -np.inf), alike & there):
            if wanted := int(own.sum()):
                near = np.flatnonzero(row >= np.partition(row, -wanted)[-wanted])
                hits = own[near[np.argsort(-row[near], kind="stable")][:wanted]]
                found.append(float((hits * hits.cumsum() / np.arange(1, wanted + 1)).mean()))
    return found


@dataclass(frozen=True)
class ClassRecall:
    """Of one class: its label, how many queries it has, and of how many the nearest item is of it."""

    label: int
    queries: int
    hits: int

    @property
    def percent(self) -> float:
        return 100 * self.hits / self.queries


def recall_by_class(both: Sides) -> list[ClassRecall]:
    """Every class of the queries, best first, equal ones by label."""
    hits = np.zeros(len(both.queries), dtype=bool)
    for rows, similarity, _ in both.blocks():
        hits[rows] = both.item_labels[np.argmax(similarity, axis=1)] == both.labels[rows]
    classes, place = np.unique(both.labels, return_inverse=True)
    total, good = np.bincount(place.reshape(-1)), np.bincount(place.reshape(-1), weights=hits)
    found = [ClassRecall(int(label), int(n), int(h)) for label, n, h in zip(classes, total, good)]
    return sorted(found, key=lambda one: (-one.percent, one.label))


@dataclass(frozen=True)
class Map:
    """Points (M, 2) of some queries in the plane of the two largest principal axes, their places among the queries, their labels, the
    classes that are to be coloured (those of most queries), and the axes' share of variance.
    """

    points: NDArray[Any]
    places: NDArray[np.int64]
    labels: NDArray[Any]
    coloured: NDArray[Any]
    share: float


def plane(both: Sides) -> Map | None:
    """The principal plane of the queries; None for fewer than three, or without finite numbers. Signs are fixed: an axis' largest coordinate is positive."""
    classes, counts = np.unique(both.labels, return_counts=True)
    coloured = classes[np.argsort(-counts, kind="stable")[:COLOURED]]
    theirs = [np.flatnonzero(both.labels == one) for one in coloured]
    parts = [here[spread(len(here), OF_EACH)] for here in theirs]
    chosen = np.unique(np.concatenate([spread(len(both.queries), SHOWN), *parts]))
    rows = both.queries[chosen].astype(np.float64)
    if len(rows) < 3 or rows.shape[1] < 2 or not np.isfinite(rows).all():
        return None
    centred = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, [-1, -2]]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), [0, 1]])
    total = max(float(values.sum()), 1e-12)
    return Map(centred @ axes, chosen, both.labels[chosen], coloured, float(values[-2:].sum()) / total)


def apart(points: NDArray[Any]) -> NDArray[np.int64]:
    """Which of the points (M, 2) get a picture, at most `THUMBNAILS` of them, none of which covers another.

    The first point; then, again and again, the one farthest from those that have one (the larger of the distances along the two axes,
    in widths and heights of a picture; of equal ones the first), until the farthest is less than one picture away.
    """
    reach = np.ptp(points, axis=0)
    scaled = points / np.where(reach > 0, reach, 1) * (ACROSS, DOWN)
    taken = [0]
    away = np.abs(scaled - scaled[0]).max(1)
    while len(taken) < THUMBNAILS and away.max() >= 1:
        taken.append(int(away.argmax()))
        away = np.minimum(away, np.abs(scaled - scaled[taken[-1]]).max(1))
    return np.array(taken, dtype=np.int64)
