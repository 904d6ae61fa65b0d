"""Which pictures a report shows: nearest neighbours of a few queries for its grid, and those at their points in its map.

The rule by which they are chosen: among the queries that the sample takes, by their margin, which is the cosine with the
nearest item of their own class less that with the nearest of another. Best are those of the largest margin, worst those of the
smallest, typical those in the middle of the order; of equal ones the first in the test set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.files import write_json
from paper_recipes.runner.scoring import insight

EACH, NEIGHBOURS = 3, 5  # queries of a kind, items of a query
KINDS = ("best", "typical", "worst")


def write(path: Path, both: insight.Sides, data: Data, iteration: int) -> None:
    """Five nearest neighbours (cosine; what the protocol leaves out, left out) of the best, typical and worst three queries.

    `rank` is that of the first item of the query's class, from 1; None where there is none. "map": place among the queries and file
    of each picture that `insight.apart` puts into the map.
    """
    items = data.test if data.gallery is None else data.gallery
    files, item_files = data.test.files(), items.files()
    chosen = insight.spread(len(both.queries), insight.SAMPLE)
    margins = np.concatenate([_margins(similarity, alike) for _, similarity, alike in both.blocks(chosen)])
    rows = []
    for kind, places in _kinds(margins).items():
        for _, similarity, alike in both.blocks(chosen[places]):
            for query, rough, own in zip(chosen[places], similarity, alike):
                # By itself: the product of a whole block rounds by its size.
                cosines = np.where(np.isfinite(rough), both.items @ both.queries[query], -np.inf)
                cosines[[name == files[query] for name in item_files]] = -np.inf  # a gallery may hold the query itself
                order = np.argsort(-cosines, kind="stable")
                order = order[np.isfinite(cosines[order])]
                ranks = np.flatnonzero(own[order])
                nearest = order[:NEIGHBOURS]
                rows.append(
                    {
                        "kind": kind,
                        "query": files[query],
                        "label": int(data.test.labels[query]),
                        "rank": int(ranks[0]) + 1 if len(ranks) else None,
                        "neighbours": [
                            {"file": item_files[n], "label": int(items.labels[n]), "cosine": float(cosines[n])}
                            for n in nearest
                        ],
                    }
                )
    plane = insight.plane(both)
    shown = [] if plane is None else plane.places[insight.apart(plane.points)].tolist()
    in_map = [{"query": place, "file": files[place]} for place in shown]
    write_json(path, {"iteration": iteration, "queries": len(chosen), "rows": rows, "map": in_map})


def _margins(similarity: NDArray[Any], alike: NDArray[Any]) -> NDArray[Any]:
    """(B,) own class less other classes; -inf where the class has no other item, +inf where there is no other class."""
    own = np.where(alike, similarity, -np.inf).max(1)
    other = np.where(alike, -np.inf, similarity).max(1)
    with np.errstate(invalid="ignore"):  # one without the other: infinity less infinity
        return np.where(np.isneginf(own), -np.inf, own - other)


def _kinds(margins: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Places of the queries of each kind, none twice. Without an item of their class there is nothing to find: left out."""
    order = np.argsort(-margins, kind="stable")
    order = order[~np.isneginf(margins[order])]
    each = min(EACH, len(order) // 3) or min(len(order), 1)
    middle = max(len(order) // 2 - each // 2, each)
    parts = (order[:each], order[middle : middle + each], order[max(len(order) - each, each) :])
    return dict(zip(KINDS, parts))
