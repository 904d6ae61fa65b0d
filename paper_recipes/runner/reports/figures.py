"""The pictures of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from paper_recipes.recipe import Recipe
from paper_recipes.runner.reports.words import drawn, shown
from paper_recipes.runner.scoring.curves import Curve, compare, headline
from ports.images.decoding import ImageError, decode

RIGHT, WRONG, QUERY = "#2a9d4a", "#d1495b", "#30343f"
COLOURS = ("#1b6ca8", "#e07a1f", "#5b8c5a", "#8d5a97")


def loss_curve(path: Path, steps: list[dict[str, Any]]) -> None:
    """Every loss top over the iterations; below, on the same axis, the learning rate."""
    fig, (axes, below) = plt.subplots(2, 1, figsize=(7, 4.6), layout="constrained", sharex=True, height_ratios=(3, 1))
    iterations = [row["iteration"] for row in steps]
    for colour, name in zip(COLOURS, steps[0]["losses"]):
        values = [row["losses"][name] for row in steps]
        axes.plot(iterations, values, color=colour, alpha=0.35, linewidth=0.8)
        axes.plot(iterations, _running_mean(values), color=colour, label=drawn(name))
    axes.set(ylabel="reported loss", title="Losses as the release reports them (pale: every step)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)
    _rates(below, steps)
    save(fig, path)


def _rates(axes: Axes, steps: Sequence[dict[str, Any]]) -> None:
    iterations, rates = [row["iteration"] for row in steps], [row["lr"] for row in steps]
    axes.plot(iterations, rates, color="#444444", drawstyle="steps-post", marker="." if len(steps) == 1 else None)
    axes.set(xlabel="iteration", ylabel="learning rate", yscale="log" if min(rates) > 0 else "linear")
    if max(rates) == min(rates):  # a logarithmic axis of one value has no ticks
        axes.set(yscale="linear", ylim=(0, 1.5 * max(max(rates), 1e-12)))
    elif len(set(rates)) <= 5:  # each by its value: between two powers of ten there would be few ticks or many
        axes.set_yticks(sorted(set(rates)), [f"{rate:.3g}" for rate in sorted(set(rates))], fontsize=7)
        axes.minorticks_off()


def recall_curve(
    path: Path,
    evaluations: list[dict[str, Any]],
    raw_pixels: float | None,
    published: list[tuple[str, float]],
    form: str,
    *,
    steps: Sequence[dict[str, Any]] = (),
    authors: Sequence[tuple[int, float]] = (),
) -> None:
    """Recall@1 of each test net over the iterations, beside raw pixels and, of a run on the paper's data, the published values;
    below, on the same axis, the learning rate of `steps`. authors: what their program reached on the same pictures.
    """
    if steps:
        fig, (axes, below) = plt.subplots(
            2, 1, figsize=(7, 4.6), layout="constrained", sharex=True, height_ratios=(4, 1)
        )
        _rates(below, steps)
    else:
        fig, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
        axes.set(xlabel="iteration")
    iterations = [row["iteration"] for row in evaluations]
    for colour, name in zip(COLOURS, evaluations[0]["metrics"]):
        values = [row["metrics"][name]["R@1"] for row in evaluations]
        axes.plot(iterations, values, color=colour, marker="o", markersize=4, label=drawn(name))
    if evaluations[0]["iteration"] == 0:
        first = next(iter(evaluations[0]["metrics"].values()))["R@1"]
        ring: dict[str, Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "linestyle": ""}
        axes.plot([0], [first], color="#000000", label="the start", **ring)
    if authors:
        squares: dict[str, Any] = {"marker": "s", "markersize": 4, "markerfacecolor": "none", "linestyle": "--"}
        axes.plot(*zip(*authors), color="#000000", label="authors' program", **squares)
    reached = [values["R@1"] for row in evaluations for values in row["metrics"].values()]
    low = max(0, 10 * ((min([*reached, *(v for _, v in (*authors, *published))]) - 2) // 10))
    if raw_pixels is not None:
        outside = f" {raw_pixels:.1f}, below the picture" if raw_pixels < low else ""
        axes.axhline(raw_pixels, color="#777777", linestyle="--", linewidth=1, label=f"raw pixels{outside}")
    beneath = 0.0  # where the label below ends: lines that lie close have theirs one above the other
    for label, value in sorted(published, key=lambda line: line[1]):
        axes.axhline(value, color="#000000", linestyle=":", linewidth=1)
        place = max(value, beneath)
        words = axes.annotate(f"{label}: {value:g}", (0.01, place), xycoords=("axes fraction", "data"), fontsize=7)
        words.set(va="bottom", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        beneath = place + 0.045 * (100.5 - low)  # the height of a line of 7 points in a picture of this size
    where = "unseen letters" if form.startswith("embedded") else "the test set"
    axes.set(ylabel="recall@1 [%]", title=f"Recall@1 on {where}", ylim=(low, 100.5))
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    save(fig, path)


def authors_curves(recipe: Recipe, evaluations: list[dict[str, Any]] | None, path: Path) -> None:
    """A panel per embedding: the authors' log dashed and, with evaluations of a full run, ours solid."""
    panels: dict[str, list[Curve]] = {}
    for curve in filter(headline, compare(recipe, evaluations or [])):
        panels.setdefault(curve.embedding, []).append(curve)
    title = recipe.title if evaluations is not None else f"The authors' logs alone: {recipe.title}"
    log_curves(path, panels, title)


def log_curves(path: Path, panels: dict[str, list[Curve]], title: str) -> None:
    """A panel per test net: the authors' logged values dashed, the run's solid, rings where they differ too much."""
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    size = (7.0 if columns == 1 else 3.1 * columns, 3.8 if rows == 1 else 2.7 * rows)
    fig, grid = plt.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=len(panels) > 1, sharey=len(panels) > 1
    )
    for axes, (name, curves) in zip(grid.flat, panels.items()):
        for colour, curve in zip(COLOURS, curves):
            theirs = [(row.iteration, row.theirs) for row in curve.rows]
            style = {"linestyle": "--", "marker": "s", "markersize": 4, "markerfacecolor": "none", "alpha": 0.7}
            axes.plot(*zip(*theirs), color=colour, label=f"{curve.metric}, authors' log", **style)
            ours = [(row.iteration, np.nan if row.verdict == "missing" else row.ours) for row in curve.rows]
            if curve.worst is not None:  # NaN leaves a gap
                axes.plot(*zip(*ours), color=colour, marker="o", markersize=3, label=f"{curve.metric}, this run")
            off = [(row.iteration, row.ours) for row in curve.off if row.verdict != "missing"]
            if off:
                ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": WRONG}
                axes.plot(*zip(*off), linestyle="", label=f"beyond ±{curve.rows[0].tolerance:g} points", **ring)
        axes.set_title(drawn(name), fontsize=9)
        axes.grid(color="#eeeeee")
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=6)
    for index, axes in enumerate(grid.flat):
        axes.set_visible(index < len(panels))
        if index + columns >= len(panels):  # nothing is drawn below it
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("iteration", fontsize=8)
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels())}
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    for axes in grid[:, 0]:
        axes.set_ylabel("percent", fontsize=8)
    fig.suptitle(drawn(title, longest=120), fontsize=9)
    save(fig, path)


def recall_over_k(path: Path, curves: list[tuple[str, list[tuple[int, float]], bool]]) -> None:
    """Recall@K of several runs, K on a logarithmic axis; (label, points, dashed) each."""
    fig, axes = _several(curves)
    axes.set(xscale="log", xlabel="K", ylabel="recall@K [%]", title="Runs and published values")
    ticks: list[int] = []
    for k in sorted({k for _, points, _ in curves for k, _ in points}):
        if not ticks or k > 1.15 * ticks[-1]:  # 30 and 32 would be written over each other
            ticks.append(k)
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.minorticks_off()
    save(fig, path)


def recall_over_iterations(path: Path, curves: list[tuple[str, list[tuple[int, float]], bool]]) -> None:
    """Recall@1 of several runs over the iterations; (label, points, dashed) each. Logarithmic where lengths differ much."""
    fig, axes = _several(curves)
    ends = [points[-1][0] for _, points, _ in curves]
    scale = "symlog" if max(ends) > 20 * max(min(ends), 1) else "linear"
    axes.set(xscale=scale, xlabel="iteration", ylabel="recall@1 [%]", title="Runs and authors' logs")
    axes.set_xlim(left=0)
    save(fig, path)


def _several(curves: list[tuple[str, list[tuple[int, float]], bool]]) -> tuple[Any, Axes]:
    """Each solid curve has a colour of its own; a dashed one has that of the solid one it belongs to, by its label."""
    fig, axes = plt.subplots(figsize=(7, 4 + 0.18 * len(curves)), layout="constrained")
    colours: dict[str, str] = {}
    for index, (label, points, dashed) in enumerate(curves):
        what = re.sub(r"\+\S*", "", label.split(" (")[0])  # a derived recipe belongs to its parent's values
        colour = colours.get(what, f"C{index % 10}") if dashed else f"C{index % 10}"
        colours.setdefault(what, colour)
        style: dict[str, Any] = {"linestyle": "--", "markerfacecolor": "none"} if dashed else {}
        axes.plot(*zip(*points), color=colour, marker="o", markersize=4, label=drawn(label, longest=120), **style)
    fig.legend(loc="outside lower center", fontsize=7, frameon=False)
    return fig, axes


def retrieval_grid(path: Path, rows: list[dict[str, Any]], names: dict[int, str]) -> None:
    """Queries in the first column, their nearest neighbours behind them; green frame = same class, red = another.

    Above a query: its kind, its class, the rank of the first item of its class. Above a neighbour: rank, cosine and, of another
    class, its name. Names are cut to what fits above a picture.
    """
    columns = 1 + max(len(row["neighbours"]) for row in rows)
    fig, grid = plt.subplots(
        len(rows), columns, figsize=(1.3 * columns, 1.6 * len(rows)), layout="constrained", squeeze=False
    )
    for axes in grid.flat:
        axes.axis("off")
    for axes_row, row in zip(grid, rows):
        rank = f"\nfirst right at rank {row['rank']:,}" if row.get("rank") else ""
        kind = f"{row['kind']}: " if "kind" in row else "query: "
        _picture(axes_row[0], row["query"], QUERY, f"{drawn(kind)}{class_name(names, row['label'])}{rank}")
        for place, (axes, neighbour) in enumerate(zip(axes_row[1:], row["neighbours"]), 1):
            right = neighbour["label"] == row["label"]
            label = "right" if right else class_name(names, neighbour["label"])
            _picture(
                axes,
                neighbour["file"],
                RIGHT if right else WRONG,
                f"{place}: cosine {neighbour['cosine']:.3f}\n{label}",
            )
    save(fig, path)


def class_name(names: dict[int, str], label: int, longest: int = 18) -> str:
    """Cut in the middle, as names of classes often differ at their ends alone; 18 characters are as wide as a picture of the grid."""
    name, half = shown(names.get(label, label)), longest // 2
    return drawn(name if len(name) <= longest else f"{name[: longest - half - 1]}…{name[-half:]}")


def _picture(axes: Axes, file: str, colour: str, title: str) -> None:
    axes.axis("on")
    try:
        axes.imshow(decode(file), aspect="equal")
    except ImageError:  # moved or gone since the evaluation
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.text(0.5, 0.5, "picture\nnot readable", ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_title(title, fontsize=6.5, color=colour)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=2.5)


def _running_mean(values: list[float], window: int = 10) -> NDArray[Any]:
    """Mean of the last `window` values (fewer at the start)."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (total[ends] - total[starts]) / (ends - starts)


def save(fig: Any, path: Path) -> None:
    fig.savefig(path, dpi=110)
    plt.close(fig)
