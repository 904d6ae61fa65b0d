"""Places for the boxes of a net's drawing: which layers share a box, in which row and column each box stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from caffe_compat.layers import LAYERS, Layer


@dataclass
class Box:
    """One box: its layers (a chain), the boxes that feed it, and its place (row from the top, x in box widths)."""

    layers: list[Any]
    parents: list[int] = field(default_factory=list)
    row: int = 0
    x: float = 0.0
    blob: str = ""  # name of the input blob when the box is one


def boxes_of(net: Any) -> list[Box]:
    """Boxes of a net (V2 layers of one phase) in an order in which every box comes after its parents."""
    readers: dict[int, int] = {}  # producing layer -> how many layers read its top
    producer: dict[str, int] = {}
    sources: list[list[int | str]] = []
    for i, layer in enumerate(net.layer):
        found: list[int | str] = [producer.get(name, name) for name in layer.bottom]
        sources.append(found)
        for source in found:
            if isinstance(source, int):
                readers[source] = readers.get(source, 0) + 1
        for top in layer.top:
            producer[top] = i
    boxes: list[Box] = []
    home: dict[int | str, int] = {}
    for i, layer in enumerate(net.layer):
        for source in sources[i]:
            if isinstance(source, str):  # an input has a box beside each reader: labels would cross the whole page
                home[source] = len(boxes)
                boxes.append(Box([], blob=source))
        first = sources[i][0] if sources[i] else None
        follows = len(sources[i]) == 1 and isinstance(first, int) and readers.get(first) == 1
        if follows and LAYERS.get(layer.type, Layer).drawn_inside and first is not None:
            home[i] = home[first]
            boxes[home[i]].layers.append(layer)
        else:
            home[i] = len(boxes)
            boxes.append(Box([layer], parents=sorted({home[source] for source in sources[i]})))
    return boxes


def place(boxes: list[Box]) -> list[list[tuple[float, float]]]:
    """Give every box a row and an x, and return one polyline of (x, row) points per parent link.

    Rows are longest paths from the inputs, columns follow the mean column of the neighbours, swept down and up; a link
    over several rows passes through free columns of the rows between.
    """
    for box in boxes:
        box.row = max((boxes[p].row + 1 for p in box.parents), default=0)
    # An input stands directly above its first reader, not at the top of the page.
    children: list[list[int]] = [[] for _ in boxes]
    for i, box in enumerate(boxes):
        for parent in box.parents:
            children[parent].append(i)
    for i, box in enumerate(boxes):
        if not box.parents and children[i]:
            box.row = max(0, min(boxes[c].row for c in children[i]) - 1)

    # Nodes of the layered graph: boxes, and a dummy in each row that a long link crosses.
    rows: list[list[int]] = [[] for _ in range(max((box.row for box in boxes), default=-1) + 1)]
    for i, box in enumerate(boxes):
        rows[box.row].append(i)
    count = len(boxes)
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    links: list[list[int]] = []
    for i, box in enumerate(boxes):
        for parent in box.parents:
            path = [parent]
            for row in range(boxes[parent].row + 1, box.row):
                rows[row].append(count)
                path.append(count)
                count += 1
            path.append(i)
            links.append(path)
            for a, b in pairwise(path):
                below.setdefault(a, []).append(b)
                above.setdefault(b, []).append(a)
    x = {node: float(k) for row in rows for k, node in enumerate(row)}
    for sweep in range(12):
        down = sweep % 2 == 0
        near = above if down else below
        for nodes in rows if down else reversed(rows):
            goal = {n: sum(x[m] for m in near[n]) / len(near[n]) if n in near else x[n] for n in nodes}
            _spread(sorted(nodes, key=lambda n, g=goal: (g[n], x[n])), goal, x, boxes)  # type: ignore[misc]
    row_of = {node: float(r) for r, row in enumerate(rows) for node in row}
    for i, box in enumerate(boxes):
        box.x = x[i]
    return [[(x[node], row_of[node]) for node in path] for path in links]


def _spread(order: list[int], goal: dict[int, float], x: dict[int, float], boxes: list[Box]) -> None:
    """Put the nodes of a row as near to their goals as their order and width allow."""

    def width(node: int) -> float:
        return 1.0 if node < len(boxes) else 0.3

    lefts: list[float] = []
    for k, node in enumerate(order):
        free = lefts[-1] + (width(order[k - 1]) + width(node)) / 2 if k else goal[node]
        lefts.append(max(goal[node], free))
    # Packing to the right moves the whole row that way: move it back by the mean of the shifts.
    shift = sum(left - goal[node] for left, node in zip(lefts, order)) / max(len(order), 1)
    for left, node in zip(lefts, order):
        x[node] = left - shift
