"""Pictures in a map: where they stand, that none covers another, what is drawn where they cannot be read."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import report_run
from PIL import Image

from paper_recipes.runner.reports import page, thumbnails


@pytest.fixture
def chart():
    fig, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.set(xlim=(0, 10), ylim=(0, 10))
    yield fig, axes
    plt.close(fig)


def picture(path, width, height):
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(path)
    return str(path)


def boxes(fig, axes):
    return [one.get_window_extent() for one in fig.axes if one is not axes]


def test_each_stands_at_its_point_and_keeps_its_shape(chart, tmp_path):
    fig, axes = chart
    points = np.array([[2.0, 3.0], [8.0, 7.0]])
    files = [picture(tmp_path / "a.png", 300, 100), picture(tmp_path / "b.png", 20, 40)]
    assert thumbnails.put(fig, axes, points, files, ["red", "blue"]) == 2
    wide, high = boxes(fig, axes)
    for box, point in zip((wide, high), axes.transData.transform(points)):
        assert [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2] == pytest.approx(point, abs=1e-6)
    assert wide.width == pytest.approx(3 * wide.height) and high.height == pytest.approx(2 * high.width)
    assert wide.width == pytest.approx(thumbnails.LARGEST * fig.dpi - 3)


def test_near_ones_are_smaller_and_cover_none(chart, tmp_path):
    fig, axes = chart
    points = np.array([[2.0, 2.0], [2.5, 2.1], [9.0, 9.0]])
    thumbnails.put(fig, axes, points, [picture(tmp_path / "a.png", 50, 50)] * 3, ["red"] * 3)
    first, second, _ = boxes(fig, axes)
    assert first.x1 + 2 < second.x0 and first.width < thumbnails.LARGEST * fig.dpi - 3  # two frames of 1.5


def test_those_that_cannot_be_read_are_left_out(chart, tmp_path):
    fig, axes = chart
    (tmp_path / "text.png").write_text("no picture")
    files = [str(tmp_path / "gone.png"), str(tmp_path / "text.png"), picture(tmp_path / "a.png", 9, 9)]
    points = np.array([[1.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    assert thumbnails.put(fig, axes, points, files, ["red"] * 3) == 1 and len(boxes(fig, axes)) == 1
    assert thumbnails.put(fig, axes, points[:0], [], []) == 0


@pytest.mark.slow  # three whole reports
def test_a_report_without_its_pictures_has_points(tmp_path):
    out = report_run.make(tmp_path / "run", iterations=(10,))
    page.write(out, report_run.CHAIN)
    with_pictures = (out / "map.png").read_bytes()
    for path in (out / "pictures").iterdir():
        path.unlink()
    page.write(out, report_run.CHAIN)
    plain = (out / "map.png").read_bytes()
    assert plain != with_pictures and (out / "retrieval.png").is_file()
    grid = json.loads((out / "neighbours.json").read_text())
    del grid["map"]  # as a run without that list
    (out / "neighbours.json").write_text(json.dumps(grid))
    page.write(out, report_run.CHAIN)
    assert (out / "map.png").read_bytes() == plain
