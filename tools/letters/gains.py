"""What the table says, to look at: how far each seed of each recipe rises or falls, beside how far the seeds' ends are apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paper_recipes.recipe import Recipe
from ports.files import atomic_path
from tools.letters.results import Result
from tools.letters.tables import counted, learns, maps

COLOURS = {True: "#1a7f37", False: "#8a8f98"}


def picture(groups: Sequence[Sequence[Recipe]], count: int, results: Sequence[Result], path: Path) -> None:
    """A line for each group that has a result, a point for each seed's gain; grey bars from 0 are as long as the ends are apart."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    seen = [(group, counted(group[0], count, results)) for group in groups]
    seen = [(group, done) for group, done in seen if done]
    fig, panels = plt.subplots(1, 2, figsize=(10, 1.5 + 0.2 * len(seen)), sharey=True, layout="constrained")
    for axes, title in zip(panels, ("R@1, or mAP", "MAP@R")):
        for row, (_, done) in enumerate(seen):
            pairs = [(r.start, r.end) for r in done] if axes is panels[0] else maps(done)
            if not pairs:
                continue
            ends = [end for _, end in pairs]
            axes.barh(row, max(ends) - min(ends), height=0.7, color="#d8dbe0", zorder=1)
            colour = COLOURS[len(pairs) > 1 and learns(pairs)]
            axes.plot([end - start for start, end in pairs], [row] * len(pairs), ".", color=colour, markersize=7)
        axes.axvline(0, color="#555555", linewidth=0.8)
        axes.set(title=title, xlabel="points gained by each seed; bar: how far the seeds' ends are apart")
        axes.xaxis.label.set_size(8)
        axes.grid(axis="x", color="#eeeeee", zorder=0)
    panels[0].set_yticks(
        range(len(seen)), [group[0].name + (f" +{len(group) - 1}" if len(group) > 1 else "") for group, _ in seen]
    )
    panels[0].tick_params(axis="y", labelsize=8)
    panels[0].invert_yaxis()
    panels[0].margins(y=0.01)
    fig.suptitle("Letters form: green where every seed gains more than the seeds' ends are apart", fontsize=10)
    with atomic_path(path) as part:
        fig.savefig(part, dpi=100, format="png")
    plt.close(fig)
