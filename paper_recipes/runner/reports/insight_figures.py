"""The pictures of what embeddings look like: distances, map, recall of each class; and the chain of evidence as a chain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from paper_recipes.runner.reports import thumbnails
from paper_recipes.runner.reports.figures import class_name, save
from paper_recipes.runner.reports.words import drawn
from paper_recipes.runner.scoring.insight import BINS, ClassRecall, Map, overlap

POSITIVE, NEGATIVE, OTHER = "#1b6ca8", "#e07a1f", "#c3c7cc"
#: Up to so many classes each bar of recall by class is a class; beyond, the bars are a curve.
BARS = 60
#: Characters of a class's name beside a picture.
LEGEND = 32


def distance_histograms(path: Path, rows: list[dict[str, Any]]) -> None:
    """A panel for each evaluation (the first and the latest): densities of positive and negative pairs over their distance."""
    fig, panels = plt.subplots(
        1, len(rows), figsize=(3.9 * len(rows) + 0.4, 3.2), layout="constrained", squeeze=False, sharey=True
    )
    edges = np.linspace(0, 2, BINS + 1)
    for axes, row in zip(panels.flat, rows):
        for name, colour in (("positive", POSITIVE), ("negative", NEGATIVE)):
            counts = np.array(row[name], dtype=float)
            if total := counts.sum():
                axes.stairs(
                    counts / total * (BINS / 2), edges, fill=True, color=colour, alpha=0.45, label=f"{name} pairs"
                )
                axes.stairs(counts / total * (BINS / 2), edges, color=colour, linewidth=1.2)
        share = overlap(row)
        when = "before training" if row["iteration"] == 0 else f"iteration {row['iteration']:,}"
        axes.set_title(when + ("" if share is None else f": {100 * share:.0f} % lie on each other"), fontsize=9)
        axes.set(xlabel="Euclidean distance of unit rows", xlim=(0, 2))
    panels[0, 0].set_ylabel("density")
    panels[0, 0].legend(fontsize=8, frameon=False, loc="upper left")
    save(fig, path)


def embedding_map(path: Path, found: Map, names: dict[int, str], files: dict[int, str]) -> None:
    """The classes of most points coloured and named, the others grey.

    `files`: by place among the queries, pictures that stand at their points in a frame of their class's colour; those that cannot
    be read are left out.
    """
    fig, axes = plt.subplots(figsize=(7.4, 4.6), layout="constrained")
    chosen, rest = found.coloured, ~np.isin(found.labels, found.coloured)
    if rest.any():
        label = f"{len(np.unique(found.labels[rest])):,} other classes"
        axes.scatter(
            found.points[rest, 0],
            found.points[rest, 1],
            s=6,
            color=OTHER,
            linewidths=0,
            label=label,
            rasterized=True,
        )
    colours = {int(one): plt.get_cmap("tab10")(number % 10) for number, one in enumerate(chosen)}
    for one, colour in colours.items():
        here = found.points[found.labels == one]
        axes.scatter(here[:, 0], here[:, 1], s=16, color=colour, linewidths=0, label=class_name(names, one, LEGEND))
    axes.set(xlabel="first principal axis", ylabel="second principal axis", xticks=[], yticks=[])
    axes.set_title(
        f"{len(found.points):,} test pictures; the plane holds {100 * found.share:.0f} % of the variance", fontsize=9
    )
    axes.margins(0.08)  # half a picture
    fig.legend(loc="outside right center", fontsize=7, frameon=False)
    spots = [number for number, place in enumerate(found.places.tolist()) if place in files]
    thumbnails.put(
        fig,
        axes,
        found.points[spots],
        [files[int(place)] for place in found.places[spots]],
        [colours.get(int(label), OTHER) for label in found.labels[spots]],
    )
    save(fig, path)


def class_bars(path: Path, found: Sequence[ClassRecall], names: dict[int, str]) -> None:
    """Recall@1 of every class, best first; the ten worst by name."""
    worst = list(found[:-11:-1])
    fig, (every, last) = plt.subplots(
        1, 2, figsize=(8.6, 0.24 * len(worst) + 1.4), layout="constrained", width_ratios=(1.2, 1)
    )
    values = [one.percent for one in found]
    if len(found) <= BARS:
        every.bar(range(1, len(values) + 1), values, color=POSITIVE, width=0.85)
    else:
        every.fill_between(range(1, len(values) + 1), values, color=POSITIVE, alpha=0.5, step="mid", linewidth=0)
    every.set(
        xlabel=f"{len(found):,} classes, best first", ylabel="recall@1 [%]", ylim=(0, 100), xlim=(0.4, len(found) + 0.6)
    )
    every.axhline(float(np.mean(values)), color="#555555", linestyle="--", linewidth=1)
    every.annotate(
        f"mean {np.mean(values):.1f}",
        (0.01, np.mean(values)),
        xycoords=("axes fraction", "data"),
        va="bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        fontsize=7,
    )
    rows = range(len(worst))
    last.barh(rows, [one.percent for one in worst], color=NEGATIVE, height=0.7)
    last.set_yticks(rows, [class_name(names, one.label, LEGEND) for one in worst], fontsize=7)
    for row, one in zip(rows, worst):
        last.annotate(f" {one.hits} of {one.queries}", (one.percent, row), va="center", fontsize=7)
    last.set(xlim=(0, 118), xticks=[0, 50, 100], title=f"worst {len(worst)}")
    last.invert_yaxis()
    last.title.set_fontsize(9)
    save(fig, path)


def chain(path: Path, links: list[tuple[str, str]]) -> None:
    """Boxes in a row, an arrow between neighbours; (name, colour) each."""
    fig, axes = plt.subplots(figsize=(1.25 * len(links) + 0.2, 0.75))
    fig.subplots_adjust(0, 0, 1, 1)
    for number, (name, colour) in enumerate(links):
        style = {"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": "none"}
        axes.text(
            number, 0, drawn(name).replace(": ", ":\n"), color="white", fontsize=8, ha="center", va="center", bbox=style
        )
        if number:
            line = {"arrowstyle": "-|>", "color": "#666666", "linewidth": 1.2}
            axes.annotate("", (number - 0.36, 0), (number - 0.64, 0), arrowprops=line)
    axes.set(xlim=(-0.6, len(links) - 0.4), ylim=(-0.5, 0.5))
    axes.axis("off")
    save(fig, path)


def class_changes(path: Path, changes: Sequence[float]) -> None:
    """Points of recall@1 that each class won (above) or lost, largest gain first."""
    fig, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    places, values = np.arange(1, len(changes) + 1), np.array(changes)
    for sign, colour in ((1, POSITIVE), (-1, NEGATIVE)):
        part = np.where(sign * values > 0, values, 0)
        if len(changes) <= BARS:
            axes.bar(places, part, color=colour, width=0.85)
        else:
            axes.fill_between(places, part, color=colour, step="mid", linewidth=0)
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set(xlabel=f"{len(changes):,} classes", ylabel="points of recall@1", xlim=(0.4, len(changes) + 0.6))
    save(fig, path)
