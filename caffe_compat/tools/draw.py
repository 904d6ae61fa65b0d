"""A net as a picture (.svg, .png, .pdf): boxes from the inputs at the top to the outputs at the bottom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caffe_compat.errors import UnsupportedLayerError
from caffe_compat.formats.prototxt import filter_net, net_inputs, read_net, upgrade_net
from caffe_compat.formats.text import layers_placed
from caffe_compat.layers import LAYERS, Layer
from caffe_compat.tools.draw_layout import Box, boxes_of, place
from ports.files import atomic_path

_WIDTH, _HEIGHT, _GAP = 2.7, 0.62, 0.34  # inches: box and gap, so that 7 pt text fits


def draw_net(
    source: str | Path | Any,
    target: str | Path,
    *,
    dialect: str | None = None,
    rename: Mapping[str, str | None] | None = None,
    phase: str = "TEST",
    dpi: int = 100,
) -> str:
    """Draw a net into a file whose suffix names the format, and return a line that says what was drawn.

    Layers that follow another one alone (BatchNorm, Scale, ReLU, ...) share its box. Shapes are shown where the net's
    layers are all computed here, else the drawing goes without.

    Args:
        source: prototxt path or text, or a NetParameter message.
        target: file to write.
        dialect, rename: as for `read_net`.
        phase: "TRAIN" or "TEST".
        dpi: dots per inch of a bitmap.

    Raises:
        CaffeFormatError, DialectError: as `read_net`.
        ValueError: a format that matplotlib cannot write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    message = read_net(source, dialect=dialect, rename=rename) if isinstance(source, str | Path) else source
    with layers_placed(source):
        net = filter_net(upgrade_net(message), phase=phase)
        shapes = _shapes(message, phase)
    boxes = boxes_of(net)
    lines = place(boxes)
    places = [box.x for box in boxes] + [x for line in lines for x, _ in line]
    left, right = min(places, default=0.0), max(places, default=0.0)
    rows = max((box.row for box in boxes), default=0) + 1
    pitch = _WIDTH + 0.25
    size = ((right - left) * pitch + _WIDTH + 0.6, rows * (_HEIGHT + _GAP) + 0.8)
    figure = Figure(figsize=size, dpi=min(dpi, int(60_000 / max(size))))  # a bitmap side stays below 2**16
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, size[0])
    axes.set_ylim(0, size[1])
    axes.axis("off")

    def at(x: float, row: float) -> tuple[float, float]:
        return 0.3 + _WIDTH / 2 + (x - left) * pitch, size[1] - 0.7 - _HEIGHT / 2 - row * (_HEIGHT + _GAP)

    axes.text(0.3, size[1] - 0.3, f"{net.name or 'net'}  ({phase})", fontsize=11, weight="bold", va="center")
    for line in lines:
        points = []
        for x, row in line:  # straight down past the boxes of a row, slanting only between rows
            across, middle = at(x, row)
            points += [(across, middle + _HEIGHT / 2), (across, middle - _HEIGHT / 2)]
        axes.plot(*zip(*points[1:-1]), color="#666666", linewidth=0.8, zorder=1)
        axes.plot(*points[-2], marker="v", markersize=4, color="#666666", zorder=3)
    for box in boxes:
        _draw_box(axes, box, *at(box.x, box.row), shapes)
    path = Path(target)
    suffix = path.suffix[1:].lower()
    if suffix not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{path}: unknown picture format; use .svg, .png or .pdf")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=suffix)
    return f"{path}: {len(net.layer)} layers in {len(boxes)} boxes"


def _shapes(message: Any, phase: str) -> dict[str, tuple[int, ...]]:
    from caffe_compat.net import load_net  # torch

    try:
        return dict(load_net(message, phase=phase).plan.shapes)
    except UnsupportedLayerError:
        return dict(net_inputs(upgrade_net(message)))


def _draw_box(axes: Any, box: Box, x: float, y: float, shapes: Mapping[str, tuple[int, ...]]) -> None:
    from matplotlib.patches import FancyBboxPatch

    if box.blob:
        lines, colour, top = [box.blob], "#eeeeee", box.blob
    else:
        first = box.layers[0]
        kinds = [layer.type for layer in box.layers[1:]]
        kind = LAYERS.get(first.type, Layer)
        lines = [first.name, first.type + kind.described(first), *([" + ".join(kinds)] if kinds else [])]
        colour = kind.colour
        top = box.layers[-1].top[0] if box.layers[-1].top else ""
    if shapes.get(top):
        lines[-1 if len(lines) > 1 else 0] += "   " + "x".join(map(str, shapes[top]))
    corner = (x - _WIDTH / 2, y - _HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner, _WIDTH, _HEIGHT, boxstyle="round,pad=0,rounding_size=0.06", fc=colour, ec="#444444", lw=0.8
        )
    )
    for i, text in enumerate(lines):
        offset = (len(lines) / 2 - i - 0.5) * 0.18
        axes.text(
            x, y + offset, _fit(text, 46), fontsize=7, ha="center", va="center", weight="bold" if i == 0 else "normal"
        )


def _fit(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length // 2 - 1] + "…" + text[-length // 2 :]
