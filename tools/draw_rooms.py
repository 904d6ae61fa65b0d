"""Draw docs/rooms.svg, the rooms of the four packages and who imports whom, from the imports as they are.

    python tools/draw_rooms.py [FILE.svg] [--png FILE.png]

A room is a sub-package. Rooms stand on floors: each imports from rooms below it, and an arrow is drawn where no other way
leads there. Modules that lie directly in a package are its hall, which every room may use; they are named below the rooms.
"""

from __future__ import annotations

import argparse
import ast
import textwrap
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

REPO = Path(__file__).resolve().parents[1]
RUNNER = "paper_recipes.runner"  # its own modules are a hall, too
HOUSES = ("ports", "caffe_compat", "paper_recipes", "golden")
INK, PALE, GREEN = "#1f2933", "#9aa5b1", "#2f855a"
COLOUR = {"ports": "#dcefe3", "caffe_compat": "#dfe9f8", "paper_recipes": "#fbead2", "golden": "#efe3f5"}
# What a room does for the chain weights -> images -> sampler -> network -> loss -> solver -> evaluation.
LINKS = {
    "weights": ["caffe_compat.formats", "paper_recipes.runner.engines"],
    "images": ["ports.datasets", "ports.images"],
    "sampler": ["ports.samplers"],
    "network": ["caffe_compat.net", "caffe_compat.layers", "ports.backbones"],
    "loss": ["ports.losses"],
    "solver": ["caffe_compat.solver", "paper_recipes.runner.engines"],
    "evaluation": ["ports.metrics", "paper_recipes.runner.scoring"],
}


def room_of(module: str) -> str:
    """`ports.losses.margin` -> `ports.losses`; `ports.matlab` -> `ports`."""
    path = REPO / module.replace(".", "/")
    return module if path.is_dir() else module.rpartition(".")[0]


def base(node: ast.ImportFrom, module: str) -> str:
    """The module that a `from` import in `module` names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    return ".".join([*module.split(".")[: -node.level], *([node.module] if node.module else [])])


def arrows() -> tuple[dict[str, int], dict[str, set[str]]]:
    """Modules per room; room -> rooms that it imports from."""
    count: dict[str, int] = defaultdict(int)
    to: dict[str, set[str]] = defaultdict(set)
    for house in HOUSES:
        for file in sorted((REPO / house).rglob("*.py")):
            module = ".".join(file.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")
            room = room_of(module)
            if file.name == "__init__.py":
                continue  # public names of a house, looked up lazily, are no arrows
            count[room] += 1
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (start := base(node, module)).split(".")[0] in HOUSES:
                    for alias in node.names:
                        full = f"{start}.{alias.name}"
                        is_module = (REPO / (full.replace(".", "/") + ".py")).exists() or (
                            REPO / full.replace(".", "/")
                        ).is_dir()
                        to[room].add(room_of(full if is_module else start))
    return dict(count), {room: {t for t in targets if t != room and t in count} for room, targets in to.items()}


def floors(rooms: list[str], to: dict[str, set[str]]) -> dict[str, int]:
    """0 for a room that imports from no other of `rooms`, else one above the highest that it imports from."""
    level: dict[str, int] = {}

    def of(room: str, seen: tuple[str, ...] = ()) -> int:
        if room not in level:
            below = [of(t, (*seen, room)) for t in to.get(room, ()) if t in rooms and t not in seen]
            level[room] = 1 + max(below, default=-1)
        return level[room]

    for room in rooms:
        of(room)
    return level


def needed(to: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that a longer way leads along as well (the transitive reduction)."""

    def reach(room: str) -> set[str]:
        return {far for near in to.get(room, ()) for far in {near, *reach(near)}}

    return {
        room: {t for t in targets if not any(t in reach(o) for o in targets if o != t)} for room, targets in to.items()
    }


def hall(house: str) -> list[str]:
    """Modules that lie directly in a package."""
    folders = [REPO / house, *([REPO / RUNNER.replace(".", "/")] if RUNNER.startswith(house) else [])]
    return [f.name for folder in folders for f in sorted(folder.glob("*.py")) if not f.name.startswith("__")]


def draw(svg: Path, png: Path | None) -> None:
    count, to = arrows()
    outside = {(r.split(".")[0], t.split(".")[0]) for r, targets in to.items() for t in targets}
    count = {room: n for room, n in count.items() if "." in room and room != RUNNER}
    to = needed({room: {t for t in targets if t in count} for room, targets in to.items() if room in count})
    place: dict[str, tuple[float, float]] = {}
    columns = {"ports": 0.0, "caffe_compat": 5.6, "paper_recipes": 11.2, "golden": 17.6}
    wide = {"ports": 4.8, "caffe_compat": 4.8, "paper_recipes": 5.6, "golden": 3.0}
    figure, axes = plt.subplots(figsize=(15.5, 9.3))
    top = 0.0
    for house, left in columns.items():
        rooms = [room for room in count if room.split(".")[0] == house]
        level = floors(rooms, to)
        for floor in range(max(level.values()) + 1):
            here = sorted(room for room in rooms if level[room] == floor)
            rows = [here[i : i + 3] for i in range(0, len(here), 3)]
            for r, row in enumerate(rows):
                base = sum((len([x for x in rooms if level[x] == f]) + 2) // 3 for f in range(floor)) + r
                for i, room in enumerate(row):
                    place[room] = (left + wide[house] * (i + 0.5) / len(row), 1.0 + 1.35 * base)
        top = max(top, *(place[room][1] for room in rooms))
    for house, left in columns.items():
        axes.add_patch(
            FancyBboxPatch((left - 0.15, 0.15), wide[house] + 0.3, top + 0.6, boxstyle="round,pad=0,rounding_size=0.2",
                           facecolor=COLOUR[house], edgecolor="none", alpha=0.55)
        )  # fmt: skip
        axes.text(left + wide[house] / 2, top + 1.05, f"{house}/", ha="center", fontsize=15, weight="bold", color=INK)
    halls = {house: textwrap.wrap(", ".join(hall(house)), 46) for house in columns}
    for house, left in columns.items():
        axes.text(left + 0.05, 0.02, "\n".join(halls[house]), fontsize=6.5, color="#52606d", va="top")
    for room, targets in to.items():
        for target in sorted(targets):
            inside = room.split(".")[0] == target.split(".")[0]
            if not inside:
                continue
            (x0, y0), (x1, y1) = place[room], place[target]
            axes.add_patch(
                FancyArrowPatch((x0, y0 - 0.3), (x1, y1 + 0.3), arrowstyle="-|>", mutation_scale=10, color=PALE, lw=0.9,
                                shrinkA=1, shrinkB=1, connectionstyle="arc3,rad=0.04")
            )  # fmt: skip
    for start, end in sorted(pair for pair in outside if pair[0] != pair[1]):
        x0 = columns[start] + wide[start] / 2
        x1 = columns[end] + wide[end] / 2
        axes.add_patch(
            FancyArrowPatch((x0, top + 1.5), (x1, top + 1.5), arrowstyle="-|>", mutation_scale=16, color=INK, lw=1.6,
                            connectionstyle=f"arc3,rad={0.22 if x1 < x0 else -0.22}")
        )  # fmt: skip
    for room, (x, y) in place.items():
        house = room.split(".")[0]
        name = room.removeprefix(f"{house}.").replace(".", "/") + "/"
        carries = [link for link, owners in LINKS.items() if room in owners]
        axes.add_patch(
            FancyBboxPatch((x - 0.74, y - 0.3), 1.48, 0.6, boxstyle="round,pad=0,rounding_size=0.08", facecolor="white",
                           edgecolor=INK, lw=1.5 if carries else 0.7, zorder=3)
        )  # fmt: skip
        axes.text(
            x, y + 0.07, name, ha="center", va="center", fontsize=10 if len(name) < 13 else 8, color=INK, zorder=4
        )
        small = ", ".join(carries) or f"{count[room]} modules"
        colour = GREEN if carries else "#52606d"
        axes.text(x, y - 0.16, small, ha="center", va="center", fontsize=7.5, color=colour, zorder=4)
    chain = list(LINKS)
    step = 20.6 / len(chain)
    below = -0.45 - 0.15 * max(map(len, halls.values()))  # of the longest hall's lines
    for i, link in enumerate(chain):
        x = (i + 0.5) * step
        axes.text(x, below, link, ha="center", va="center", fontsize=13, color="white", weight="bold",
                  bbox={"boxstyle": "round,pad=0.45", "facecolor": GREEN, "edgecolor": "none"})  # fmt: skip
        if i:
            axes.annotate(
                "",
                (x - 0.5 * step + 0.35, below),
                (x - 0.5 * step - 0.35, below),
                arrowprops={"arrowstyle": "-|>", "color": INK},
            )
    axes.set_xlim(-0.4, 21.0)
    axes.set_ylim(below - 0.55, top + 3.2)
    axes.axis("off")
    figure.tight_layout()
    matplotlib.rcParams["svg.hashsalt"] = "rooms"
    figure.savefig(svg, metadata={"Date": None})
    if png:
        figure.savefig(png, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("svg", nargs="?", type=Path, default=REPO / "docs" / "rooms.svg")
    parser.add_argument("--png", type=Path)
    given = parser.parse_args()
    draw(given.svg, given.png)
