"""Protocols on hand-made features: who is a query, who is in the gallery, what counts."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from helpers.dataset_makers import make_market1501, publish

from paper_recipes import derive, registry
from paper_recipes.recipe import Evaluation
from paper_recipes.runner.data import run_data, scale
from paper_recipes.runner.data.letters import query_and_gallery, with_boxes, with_cameras
from paper_recipes.runner.scoring import scores as scoring
from ports.datasets import glyphs
from ports.datasets.split import Split
from ports.images.osm import corners


def evaluation(protocol: str, **more) -> Evaluation:
    return Evaluation(protocol=protocol, ks=(1, 2), batch_size=4, iterations=(), **more)


def split(labels: list[int], name: str = "x", **more) -> Split:
    return Split([f"{name}{i}.png" for i in range(len(labels))], np.array(labels), name, **more)


def at(*degrees: float) -> np.ndarray:
    angle = np.deg2rad(np.array(degrees, dtype=np.float64))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def data(test: Split, gallery: Split | None = None) -> run_data.Data:
    return run_data.Data(split([1, 2]), test, {}, gallery)


def test_some_pictures_of_each_class_are_drawn_by_the_seed():
    labels = [3] * 7 + [1] * 2 + [2] * 5 + [3]
    drawn = [run_data._some_pictures(split(labels), 5, seed) for seed in (1, 1, 2)]
    assert drawn[0].paths == drawn[1].paths != drawn[2].paths
    for found in drawn:
        assert dict(zip(*map(np.ndarray.tolist, np.unique(found.labels, return_counts=True)))) == {1: 2, 2: 5, 3: 5}
        assert all(labels[int(path[1:-4])] == label for path, label in zip(found.paths, found.labels))
    assert run_data._some_pictures(split(labels), None, 1).paths == split(labels).paths


def test_all_seeds_are_asked_the_same_letters():
    recipe = registry.get("rll-sop")
    plan = dataclasses.replace(scale.embedded(recipe), train_classes=3, test_classes=4, test_pictures=2)
    first, second = (run_data.open_embedded(recipe, plan, seed) for seed in (recipe.seed, recipe.seed + 1))
    assert first.test.paths == second.test.paths and len(first.test) == 8
    assert set(first.train.paths) != set(second.train.paths)


def test_self_leaves_the_query_out():
    #  0 and 10 degrees are each other's nearest; 90's other of class 2 is behind them
    scores = scoring.score({"e": at(0, 10, 90, -30)}, None, data(split([1, 1, 2, 2])), evaluation("self"))
    assert scores.hits == {"e": {"R@1": 2, "R@2": 2}} and scores.queries == 4


def test_query_gallery_searches_the_gallery_alone():
    test, gallery = split([1, 2], "q"), split([2, 1, 1], "g")
    scores = scoring.score({"e": at(0, 90)}, {"e": at(1, 2, 80)}, data(test, gallery), evaluation("query-gallery"))
    # query 0: nearest is class 2, then class 1; query 90: nearest 80 is class 1, then 2 degrees, class 1
    assert scores.hits == {"e": {"R@1": 0, "R@2": 1}}


@pytest.mark.parametrize("rule", ["ret_metric_recall", "deep_metric_recall"])
def test_rules_of_the_python_originals_agree_on_plain_features(rule):
    x = np.random.default_rng(0).normal(size=(40, 6))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    of = data(split(np.repeat(range(8), 5).tolist()))
    plain = scoring.score({"e": x}, None, of, evaluation("self", ties="optimistic"))
    assert scoring.score({"e": x}, None, of, evaluation("self", rule=rule)).hits == plain.hits


def test_binary_features_are_scored_beside_the_raw_ones():
    x = np.array([[1.0, 1.1], [9, 0.1], [-1, 1], [-0.001, 5]])  # the first looks most like the last
    scores = scoring.score({"e": x}, None, data(split([1, 1, 2, 2])), evaluation("self", binary=True))
    assert scores.hits["e (binary)"] == {"R@1": 4, "R@2": 4} and scores.hits["e"]["R@1"] < 4


def test_reid_drops_the_querys_own_camera_and_junk():
    test = split([7], "q", cameras=np.array([1]))
    gallery = split([7, 0, 3, 7], "g", cameras=np.array([1, 2, 2, 2]))
    features = ({"e": at(0)}, {"e": at(1, 2, 3, 4)})
    # same camera and junk identity 0 are gone: 3 is first, 7 second; AP = (1 + 0) / 2 ... of the trapezoid: (0 + 1/2) / 2
    rules = evaluation("reid", options={"cameras": True, "junk_ids": [0], "tracklets": False})
    scores = scoring.score(*features, data(test, gallery), rules)
    assert scores.hits == {"e": {"R@1": 0, "R@2": 1}} and scores.metrics["e"]["mAP"] == pytest.approx(25)
    without = evaluation("reid", options={"cameras": False, "junk_ids": [], "tracklets": False})
    assert scoring.score(*features, data(test, gallery), without).hits["e"]["R@1"] == 1


def test_tracklets_are_means_of_raw_features():
    values = np.array([[1.0, 0], [3, 4], [5, 5]])
    of = split([4, 4, 9], cameras=np.array([2, 2, 3]), tracks=np.array([8, 8, 5]))
    mean, first = scoring._tracklets(values, of)
    assert mean.tolist() == [[5, 5], [2, 2]] and first.labels.tolist() == [9, 4] and first.cameras.tolist() == [3, 2]


def test_multiple_queries_are_pooled_by_person_and_camera():
    """A query at 40 degrees finds the wrong person at 45; its person's other sights under the camera lie around 0."""
    test = split([7, 8], "q", cameras=np.array([1, 1]))
    # Person 7 under camera 2 must not count, and person 8, of whom nothing is drawn by hand, stands for itself.
    images = split([7, 7, 7], "m", cameras=np.array([1, 1, 2]))
    gallery = split([7, 9, 8], "g", cameras=np.array([2, 2, 2]))
    rows = {"q": at(40, 90), "m": at(-10, 20, 180) * [[5], [1], [9]], "g": at(0, 45, 80)}
    of = run_data.Data(split([1, 2]), test, {}, gallery, images)
    again = {"by": "expansion", "of": "max", "neighbours": 1}
    rules = evaluation("reid", options={"cameras": True, "junk_ids": [-1]}, multi_query=("avg", "max"), rerank=again)

    def embed(engine, part, pipeline, *, batch_size, **_):
        return {"e": rows[part.name].copy()}

    queries, found = scoring.embed_data(None, of, None, rules, device=None, embed=embed)
    # Rows are brought to unit length first: 5 times as long counts no more.
    np.testing.assert_allclose(queries["e (avg of queries)"], at(5, 90), atol=1e-15)
    largest = np.array([np.cos(np.deg2rad(10)), np.sin(np.deg2rad(20))])
    np.testing.assert_allclose(queries["e (max of queries)"][0], largest / np.linalg.norm(largest), atol=1e-15)
    assert list(found) == ["e"]
    hits = scoring.score(queries, found, of, rules).hits
    assert {name: row["R@1"] for name, row in hits.items()} == {
        "e": 1,
        "e (avg of queries)": 2,
        "e (max of queries)": 2,
        "e (max of queries) re-ranked": 2,  # the first place is the same with one expanded query
    }


def test_reranked_scores_stand_beside_the_plain_ones():
    """Expanded by the wrong person at 45, a query at 40 has the right ones at 0 and 95 the other way round; pixels are left out."""
    test, gallery = split([7], "q", cameras=np.array([1])), split([7, 9, 7, 8], "g", cameras=np.array([2, 2, 2, 2]))
    of = data(test, gallery)
    features = (
        {"e": at(40), scoring.WithRawPixels.NAME: at(40)},
        {"e": at(0, 45, 100, 170), "raw pixels": at(0, 45, 100, 170)},
    )
    options = {"cameras": True, "junk_ids": [], "tracklets": False}
    for again in ({"by": "expansion", "neighbours": 1}, {"by": "k_reciprocal", "k1": 2, "k2": 1, "lam": 0.5}):
        scores = scoring.score(*features, of, evaluation("reid", options=options, rerank=again))
        assert list(scores.metrics) == ["e", "e re-ranked", "raw pixels"]
        assert set(scores.hits["e re-ranked"]) == set(scores.hits["e"])
    from ports.metrics import reid, reranking

    distance = reranking.k_reciprocal_distance(features[0]["e"], features[1]["e"], k1=2, k2=1, lam=0.5)
    expected = reid.evaluate(distance, [7], gallery.labels, query_cams=[1], gallery_cams=gallery.cameras, junk_ids=())
    assert scores.metrics["e re-ranked"]["mAP"] == 100 * expected.mean_ap


def test_which_embeddings_are_reranked():
    market, mars = registry.get("rll-tpami-market1501"), registry.get("osm-mars")
    assert mars.embeddings == ("M", "M re-ranked")
    again = [name for name in market.embeddings if name.endswith("re-ranked")]
    assert again == [f"{net} (max of queries) re-ranked" for net in market.outputs]
    assert not any("re-ranked" in name for name in derive.derive(market, ["multi_query=avg"]).embeddings)
    assert derive.derive(mars, ["k1=20", "k2=6", "lam=0.3"]).evaluation.rerank == {
        "by": "k_reciprocal",
        "k1": 20,
        "k2": 6,
        "lam": 0.3,
    }


def test_queries_can_be_each_others_multiple_queries():
    """As on the letters: no image is embedded twice, and queries of one person and camera become one."""
    test = split([7, 7, 8], "q", cameras=np.array([1, 1, 1]))
    of = run_data.Data(split([1, 2]), test, {}, split([7], "g", cameras=np.array([2])), test)
    seen = []

    def embed(engine, part, pipeline, **_):
        seen.append(part.name)
        return {"e": at(10, 30, 90)[: len(part)], scoring.WithRawPixels.NAME: at(0, 0, 0)[: len(part)]}

    rules = evaluation("reid", multi_query=("avg", "max"))
    queries, _ = scoring.embed_data(None, of, None, rules, device=None, embed=embed)
    assert seen == ["q", "g"] and list(queries) == ["e", "raw pixels", "e (avg of queries)", "e (max of queries)"]
    np.testing.assert_allclose(queries["e (avg of queries)"], at(20, 20, 90), atol=1e-15)


def test_multiple_queries_need_their_images(tmp_path, monkeypatch):
    recipe = registry.get("rll-tpami-market1501")
    assert recipe.embeddings[:5] == ("concat", "H", "L", "M", "concat (avg of queries)")
    counts = make_market1501(tmp_path)
    publish(monkeypatch, "market1501", counts)
    of = run_data.open_folder(recipe, tmp_path)
    assert len(of.multi_query) == 2 and of.description["multi_query"]["images"] == 2
    shutil.rmtree(tmp_path / "gt_bbox")
    del counts["multi_query"]
    with pytest.raises(
        run_data.DataError, match=r"no images for multiple queries.*holds them in gt_bbox.*multi_query="
    ):
        run_data.open_folder(recipe, tmp_path)
    with pytest.raises(derive.SettingError, match=r"evaluation\.multi_query is one of avg, max"):
        derive.derive(recipe, ["multi_query=avg,median"])
    without = derive.derive(recipe, ["multi_query="])
    assert without.embeddings == recipe.outputs and run_data.open_folder(without, tmp_path).multi_query is None


@pytest.fixture(scope="module")
def letters():
    test = glyphs.make_splits()["test"]
    return test.subset(np.isin(test.labels, np.unique(test.labels)[:40]))


def test_embedded_queries_and_gallery_share_letters_and_no_picture(letters):
    query, gallery = query_and_gallery(letters, evaluation("query-gallery"))
    assert not set(query.paths) & set(gallery.paths) and len(query) + len(gallery) == len(letters)
    assert set(query.labels) == set(letters.labels)
    several = [label for label in np.unique(letters.labels) if (letters.labels == label).sum() > 1]
    assert set(several) <= set(gallery.labels)


def test_embedded_cameras_and_tracklets(letters):
    seen = with_cameras(letters)
    assert sorted(seen.paths) == sorted(letters.paths) and set(seen.cameras) <= set(range(1, 7))
    for track in np.unique(seen.tracks):
        frames = np.flatnonzero(seen.tracks == track)
        assert len(frames) <= 3 and len(set(seen.labels[frames])) == len(set(seen.cameras[frames])) == 1
    query, gallery = query_and_gallery(letters, evaluation("reid"))
    pairs = set(zip(query.labels.tolist(), query.cameras.tolist()))
    assert len(pairs) == letters.num_classes and not pairs & set(zip(gallery.labels.tolist(), gallery.cameras.tolist()))


def test_embedded_boxes_hold_the_ink(tmp_path):
    from PIL import Image

    picture = Image.new("L", (30, 20), 255)
    picture.paste(0, (5, 3, 15, 9))  # columns 5..14, rows 3..8 from 0
    picture.save(tmp_path / "a.png")
    boxed = with_boxes(Split(["a.png"], np.array([1]), "a", tmp_path))
    assert boxed.boxes.tolist() == [[6, 4, 9, 5]]  # from 1; corners 6, 4 to 15, 9 both belong to it
    assert corners(boxed.boxes).tolist() == [[6, 4, 15, 9]]


def test_a_protocol_that_the_data_cannot_serve_is_refused():
    with pytest.raises(run_data.DataError, match="inshop has queries and a gallery: protocol 'self' does not apply"):
        recipe = registry.get("ms-inshop")
        import dataclasses

        recipe = dataclasses.replace(recipe, evaluation=dataclasses.replace(recipe.evaluation, protocol="self"))
        run_data._roles(recipe, split([1]), split([1]))


@pytest.mark.parametrize(
    ("setting", "base", "what"),
    [
        ("dataset=sop", "osm-cub-bbox", "boxes, which SOP has not"),
        ("dataset=inshop", "osm-mars", "cameras, which In-Shop"),
    ],
)
def test_a_data_set_without_what_the_recipe_reads_is_refused_at_once(setting, base, what, tmp_path):
    """The boxes would otherwise be left out in silence."""
    with pytest.raises(run_data.DataError, match=what):
        run_data.open_folder(derive.derive(registry.get(base), [setting]), tmp_path)
