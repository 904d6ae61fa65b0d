"""Histograms, recall of classes and neighbours against plain loops; what the protocol leaves out is left out."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from paper_recipes.runner.scoring import insight, neighbours
from ports.datasets.split import Split
from ports.metrics.map_at_r import map_at_r
from ports.metrics.retrieval import recall_at_k


@pytest.fixture
def made():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(7), [5, 2, 9, 1, 4, 6, 3])
    values = rng.normal(size=(30, 6)) + 0.8 * rng.normal(size=(7, 6))[labels]
    test = Split([f"{k}.png" for k in range(30)], labels, "test")
    return values.astype(np.float32), SimpleNamespace(test=test, gallery=None)


def both_of(values, data, **options):
    return insight.sides({"e": values}, None, data, "e", cameras=False, **options)


def test_distances_are_those_of_every_pair(made):
    values, data = made
    found = insight.distances(both_of(values, data))
    rows, labels = insight.unit(values), data.test.labels
    counts = {True: np.zeros(insight.BINS, int), False: np.zeros(insight.BINS, int)}
    for i in range(30):
        for j in range(30):
            if i != j:
                away = np.linalg.norm(rows[i].astype(float) - rows[j])
                counts[bool(labels[i] == labels[j])][int(away * insight.BINS / 2)] += 1
    assert found["queries"] == 30
    # A distance within rounding of an edge may fall on either side of it.
    assert np.abs(np.cumsum(found["positive"]) - np.cumsum(counts[True])).max() <= 2
    assert np.abs(np.cumsum(found["negative"]) - np.cumsum(counts[False])).max() <= 2
    assert sum(found["positive"]) == counts[True].sum() and sum(found["negative"]) == counts[False].sum()


def test_overlap():
    bins = [0] * insight.BINS
    near, far = [1, 1, *bins[2:]], [*bins[:-2], 3, 3]
    assert insight.overlap({"positive": near, "negative": far}) == 0
    assert insight.overlap({"positive": near, "negative": near}) == 1
    assert insight.overlap({"positive": near, "negative": bins}) is None


@pytest.mark.parametrize("block", [1, 7, 256])
def test_map_at_r_is_the_metrics_own(made, block, monkeypatch):
    """Where the protocol leaves nothing out; a query that is alone in its class counts in neither."""
    monkeypatch.setattr(insight, "_BLOCK", block)
    values, data = made
    expected = 100 * map_at_r(values, data.test.labels).map_at_r
    assert insight.map_at_r(both_of(values, data)) == pytest.approx(expected, rel=1e-12)
    q, g = data.test.subset(np.arange(0, 30, 3)), data.test.subset(np.arange(1, 30, 2))
    sides = insight.sides(
        {"e": values[::3]}, {"e": values[1::2]}, SimpleNamespace(test=q, gallery=g), "e", cameras=False
    )
    expected = 100 * map_at_r(values[::3], q.labels, gallery=values[1::2], gallery_labels=g.labels).map_at_r
    assert insight.map_at_r(sides) == pytest.approx(expected, rel=1e-12)


def test_map_at_r_of_equal_and_of_missing_numbers():
    """Three items alike: the first two are the query's R. A row that is no number is never found."""
    data = SimpleNamespace(test=Split(["q"], np.array([0])), gallery=Split(list("abcd"), np.array([1, 0, 0, 1])))
    items = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert insight.map_at_r(insight.sides({"e": items[:1]}, {"e": items}, data, "e", cameras=False)) == 100 / 4
    items[0] = np.nan
    assert insight.map_at_r(insight.sides({"e": items[1:2]}, {"e": items}, data, "e", cameras=False)) == 100
    assert insight.map_at_r(insight.sides({"e": items[:1]}, {"e": items}, data, "e", cameras=False)) is None


@pytest.mark.parametrize("block", [1, 7, 256])
def test_recall_of_classes_adds_up_to_recall(made, block, monkeypatch):
    monkeypatch.setattr(insight, "_BLOCK", block)
    values, data = made
    found = insight.recall_by_class(both_of(values, data))
    assert sum(one.hits for one in found) == recall_at_k(values, data.test.labels, (1,)).hits[1]
    assert {one.label: one.queries for one in found} == dict(enumerate([5, 2, 9, 1, 4, 6, 3]))
    assert [one.percent for one in found] == sorted((one.percent for one in found), reverse=True)


def test_a_cameras_own_shots_are_left_out():
    labels, cameras = np.array([0, 0, 0, 1]), np.array([1, 1, 2, 1])
    values = np.array([[1, 0], [1, 0.01], [0.5, 0.5], [0.9, 0.1]], dtype=np.float32)
    split = Split(list("abcd"), labels, "test", cameras=cameras)
    data = SimpleNamespace(test=split.subset(np.array([0])), gallery=split.subset(np.array([1, 2, 3])))
    sides = insight.sides({"e": values[:1]}, {"e": values[1:]}, data, "e", cameras=True)
    ((_, similarity, alike),) = sides.blocks()
    assert np.isneginf(similarity[0]).tolist() == [True, False, False] and alike[0].tolist() == [True, True, False]
    assert insight.recall_by_class(sides)[0].hits == 0, "the other class' item is nearer than what is left of its own"
    assert insight.map_at_r(sides) == 0, "one item is left to find, and the nearest is the other class'"
    alone = SimpleNamespace(test=data.test, gallery=split.subset(np.array([1, 3])))
    assert insight.map_at_r(insight.sides({"e": values[:1]}, {"e": values[[1, 3]]}, alone, "e", cameras=True)) is None


def test_the_plane_holds_what_it_says(made):
    values, data = made
    found = insight.plane(both_of(values, data))
    rows = insight.unit(values).astype(float)
    singular = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    assert found.share == pytest.approx(singular[:2].sum() / singular.sum(), rel=1e-10)
    assert (
        insight.plane(both_of(values[:2], SimpleNamespace(test=data.test.subset(np.arange(2)), gallery=None))) is None
    )
    again = insight.plane(both_of(values, data))
    assert again.points.tobytes() == found.points.tobytes()


def test_neighbours_are_chosen_by_the_stated_rule(made, tmp_path):
    values, data = made
    neighbours.write(tmp_path / "n.json", both_of(values, data), data, 5)
    rows = json.loads((tmp_path / "n.json").read_text())["rows"]
    assert [row["kind"] for row in rows] == ["best"] * 3 + ["typical"] * 3 + ["worst"] * 3
    assert len({row["query"] for row in rows}) == 9
    unit, labels = insight.unit(values), data.test.labels
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    margin = {}
    for query in range(30):
        same = labels == labels[query]
        if same.sum() > 1:
            margin[query] = cosines[query][same].max() - cosines[query][~same].max()
    order = sorted(margin, key=lambda query: -margin[query])
    places = {f"{k}.png": k for k in range(30)}
    assert {places[row["query"]] for row in rows[:3]} == set(order[:3])
    assert {places[row["query"]] for row in rows[6:]} == set(order[-3:])
    for row in rows:
        query = places[row["query"]]
        ranked = np.argsort(-cosines[query], kind="stable")
        assert [places[item["file"]] for item in row["neighbours"]] == ranked[:5].tolist()
        assert row["rank"] == 1 + int(np.flatnonzero(labels[ranked] == labels[query])[0])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_pictures_are_no_error(count, tmp_path):
    labels = np.array([0, 0, 1, 1])[:count]
    data = SimpleNamespace(test=Split(list("abcd")[:count], labels, "test"), gallery=None)
    values = np.eye(4, dtype=np.float32)[:count] + 0.1
    both = both_of(values, data)
    neighbours.write(tmp_path / "n.json", both, data, 0)
    insight.distances(both)
    insight.recall_by_class(both)


def test_of_many_classes_some_are_coloured_and_whole(monkeypatch):
    """A map of a few pictures of each of very many classes would show one point of each."""
    monkeypatch.setattr(insight, "SHOWN", 50)
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.repeat(np.arange(400), 2), np.full(6, 400)])
    data = SimpleNamespace(test=Split([str(k) for k in range(806)], labels, "test"), gallery=None)
    found = insight.plane(both_of(rng.normal(size=(806, 8)).astype(np.float32), data))
    assert found.coloured.tolist() == [400, *range(9)]
    assert (
        all((found.labels == one).sum() == (labels == one).sum() for one in found.coloured) and len(found.labels) < 80
    )


@pytest.mark.parametrize(("count", "scale"), [(1, 1.0), (5, 0.0), (3000, 1.0), (3000, 1e-9)])
def test_pictures_of_a_map_cover_none_of_each_other(count, scale):
    points = scale * np.random.default_rng(1).normal(size=(count, 2))
    taken = insight.apart(points)
    assert len(set(taken.tolist())) == len(taken) <= insight.THUMBNAILS and taken[0] == 0
    assert len(taken) == (1 if count == 1 or scale == 0 else insight.THUMBNAILS)
    size = np.ptp(points, axis=0) / (insight.ACROSS, insight.DOWN)
    for place, one in enumerate(points[taken]):
        others = np.delete(points[taken], place, axis=0)
        assert ((np.abs(others - one) >= size * (1 - 1e-9)).any(1)).all()  # the rule's own quotient rounds


def test_the_first_of_equal_points_gets_the_picture():
    assert insight.apart(np.array([[0, 0], [1, 0], [1, 0], [0, 1.0]])).tolist() == [0, 1, 3]


def test_the_map_names_the_files_at_its_points(made, tmp_path):
    values, data = made
    both = both_of(values, data)
    neighbours.write(tmp_path / "n.json", both, data, 5)
    rows = json.loads((tmp_path / "n.json").read_text())["map"]
    found = insight.plane(both)
    assert [row["query"] for row in rows] == found.places[insight.apart(found.points)].tolist()
    assert len(rows) > 5 and all(row["file"] == f"{row['query']}.png" for row in rows)
    values[3, 2] = np.nan
    neighbours.write(tmp_path / "n.json", both_of(values, data), data, 5)
    assert json.loads((tmp_path / "n.json").read_text())["map"] == []
