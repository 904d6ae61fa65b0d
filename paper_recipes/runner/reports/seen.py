"""What a report shows of the embeddings themselves, from the files that the last evaluation left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_recipes.recipe import Recipe
from paper_recipes.runner.files import read_json
from paper_recipes.runner.reports import figures, insight_figures
from paper_recipes.runner.reports.words import table, text
from paper_recipes.runner.scoring import insight, saved

CHAIN = "chain.png"
_DISTANCES = (
    "Distances of pairs of one class and of two, before training and at the last evaluation, as densities. The less the two lie on "
    "each other, the better the space keeps classes apart. Of {queries:,} queries spread over the test set, with every item."
)
_MAP_AT_R = (
    "MAP@R of these queries by plain cosine: {values}. Where a query has R items to find, it counts how high among the R nearest they "
    "are; Recall@1 asks for one of them."
)
_MAP = (
    "Principal axes of the unit rows of the headline embedding, fitted to the pictures shown; a plane of so many dimensions keeps "
    "little, so classes that lie on each other here may be apart in the space. Pictures stand at their points, framed in the colour of "
    "their class: the first of the test set, then each time the one farthest from those shown, as long as none covers another."
)
_NEIGHBOURS = (
    "Three queries each, chosen by their margin among {queries:,} spread over the test set (the cosine with the nearest item of "
    "their own class less that with the nearest of another): largest, in the middle of the order, smallest. Then the five nearest "
    "items by cosine. Green: same class. Red: another class."
)


@dataclass(frozen=True)
class Seen:
    """Names of the pictures drawn, and the recall of each class, best first (none: no embeddings are there)."""

    pictures: list[str]
    classes: list[insight.ClassRecall]


def draw(out: Path, recipe: Recipe, record: dict[str, Any], links: list[tuple[str, str]]) -> Seen:
    """Draw what there are files for."""
    names = names_of(record)
    drawn = [CHAIN]
    insight_figures.chain(out / CHAIN, links)
    if (kept := read_json(out / insight.DISTANCES)) and kept["rows"]:
        insight_figures.distance_histograms(out / "distances.png", kept["rows"])
        drawn.append("distances.png")
    grid = read_json(out / "neighbours.json") or {}
    if rows := grid.get("rows"):
        figures.retrieval_grid(out / "retrieval.png", rows, names)
        drawn.append("retrieval.png")
    classes: list[insight.ClassRecall] = []
    if (both := of_run(out, recipe)) is not None:
        if (found := insight.plane(both)) is not None:
            insight_figures.embedding_map(out / "map.png", found, names, _in_map(grid))
            drawn.append("map.png")
        classes = insight.recall_by_class(both)
        insight_figures.class_bars(out / "classes.png", classes, names)
        drawn.append("classes.png")
    return Seen(drawn, classes)


def _in_map(grid: dict[str, Any]) -> dict[int, str]:
    return {row["query"]: row["file"] for row in grid.get("map", [])}


def of_run(out: Path, recipe: Recipe) -> insight.Sides | None:
    """The headline embedding as the last evaluation stored it; None where that is not there, or not whole."""
    if not (out / saved.FOLDER / saved.EVALUATION).is_file():
        return None
    try:
        queries, gallery, data = saved.load_whole(out / saved.FOLDER, recipe)
    except (saved.SavedError, ValueError, OSError):
        return None  # `verify` says what is wrong with it
    return insight.headline_sides(recipe, queries, gallery, data)


def sections(
    out: Path, recipe: Recipe, record: dict[str, Any], evaluations: list[dict[str, Any]], drawn: Seen
) -> list[str]:
    """The report's sections on them, Markdown."""
    parts = []
    if "distances.png" in drawn.pictures:
        rows = (read_json(out / insight.DISTANCES) or {})["rows"]
        parts += ["## Distances", _DISTANCES.format(queries=rows[-1]["queries"])]
        if values := _map_at_r(rows):
            parts.append(_MAP_AT_R.format(values=values))
        parts.append(f"![{_shares(rows)}](distances.png)")
    if "map.png" in drawn.pictures:
        parts += ["## Map of the test set", _MAP, "![Test embeddings in their principal plane, by class](map.png)"]
    if "retrieval.png" in drawn.pictures:
        queries = (read_json(out / "neighbours.json") or {}).get("queries", 0)
        parts += ["## Nearest neighbours", _NEIGHBOURS.format(queries=queries)]
        parts.append("![Best, typical and worst queries and their nearest neighbours](retrieval.png)")
    if drawn.classes:
        parts += _classes(drawn.classes, names_of(record), recipe, evaluations)
    return parts


def _classes(
    found: list[insight.ClassRecall], names: dict[int, str], recipe: Recipe, evaluations: list[dict[str, Any]]
) -> list[str]:
    hits, queries = sum(one.hits for one in found), sum(one.queries for one in found)
    said = f"Recall@1 of each class by plain cosine: {hits:,} of {queries:,} queries."
    protocol = evaluations[-1].get("hits", {}).get(recipe.embeddings[0], {}).get("R@1") if evaluations else None
    if protocol is not None:
        said += (
            " The protocol counts the same."
            if protocol == hits
            else f" The protocol, with its own ties and rules, counts {protocol:,}."
        )
    worst = [[str(names.get(o.label, o.label)), f"{o.percent:.1f}", f"{o.hits} of {o.queries}"] for o in found[:-11:-1]]
    return [
        "## Recall of each class",
        said,
        "![Recall@1 of every class in order, and the ten worst](classes.png)",
        table(["worst classes", "R@1 [%]", "hits"], worst),
    ]


def names_of(record: dict[str, Any]) -> dict[int, str]:
    """Label -> name of the test classes, where the data has names."""
    return {int(label): name for label, name in record["data"].get("class_names", {}).items()}


def _shares(rows: list[dict[str, Any]]) -> str:
    """The picture in words."""
    words = []
    for row in rows:
        share = insight.overlap(row)
        words.append(
            f"{_when(row)} " + ("one kind alone" if share is None else f"{100 * share:.0f} % lie on each other")
        )
    return text("Distances of positive and negative pairs: " + ", ".join(words))


def _map_at_r(rows: list[dict[str, Any]]) -> str:
    """Nothing where no query had an item to find, or the run is older than the number."""
    return ", ".join(f"{row['map_at_r']:.1f} % {_when(row)}" for row in rows if row.get("map_at_r") is not None)


def _when(row: dict[str, Any]) -> str:
    return "before training" if row["iteration"] == 0 else f"at iteration {row['iteration']}"
