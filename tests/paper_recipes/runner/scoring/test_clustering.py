"""NMI and F1 of hand-made features by each release's rules; published values are beside, never a verdict."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from paper_recipes import registry
from paper_recipes.runner.data import run_data
from paper_recipes.runner.scoring import clustering
from ports.datasets.split import Split


def split(labels, name: str = "x") -> Split:
    return Split([f"{name}{i}.png" for i in range(len(labels))], np.array(labels), name)


def blobs(labels, seed: int = 0) -> np.ndarray:
    """Directions of 8 dimensions, one per label, of different lengths: only their direction counts."""
    rng = np.random.default_rng(seed)
    directions = np.eye(8)[np.asarray(labels)]
    return (directions + rng.normal(0, 0.01, directions.shape)) * rng.uniform(0.1, 50, (len(directions), 1))


def test_classes_that_lie_apart_are_found_whatever_their_length():
    labels = np.repeat(range(5), 6)
    data = run_data.Data(split([1]), split(labels), {})
    found = clustering.score(registry.get("dm-nca-cub"), {"embedding": blobs(labels)}, None, data)["embedding"]
    assert found["NMI"] == pytest.approx(100) and found["F1"] == found["purity"] == 100
    assert (found["tp"], found["fp"], found["fn"]) == (5 * 15, 0, 0)


def test_queries_and_gallery_are_clustered_together():
    recipe = registry.get("cls-inshop")
    data = run_data.Data(split([1]), split([0, 1, 2]), {}, split([0, 0, 1, 1, 2, 2], "g"))
    queries, gallery = {"embedding": blobs([0, 1, 2])}, {"embedding": blobs([0, 0, 1, 1, 2, 2], 1)}
    found = clustering.score(recipe, queries, gallery, data)["embedding"]
    assert found["NMI"] == pytest.approx(100) and found["tp"] == 3 * 3  # pairs of 9 items, not of 3


def test_the_mean_of_entropies_is_the_releases():
    """Clusters and classes of different entropy: geometric and arithmetic means differ."""
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 2])
    x = {"e": blobs([0, 0, 0, 1, 1, 1, 2, 2])}
    data = run_data.Data(split([1]), split(labels), {})
    rll, dm = (clustering.score(registry.get(name), x, None, data)["e"] for name in ("rll-cub", "dm-nca-cub"))
    assert rll["tp"] == dm["tp"] and rll["NMI"] < dm["NMI"]


def test_a_number_that_the_counts_leave_undefined_is_none_with_its_reason(tmp_path):
    """Every item a class of its own: no pair shares a class or a cluster, and F1 is 0 / 0."""
    data = run_data.Data(split([1]), split([0, 1, 2, 3]), {})
    recipe, said = registry.get("dm-nca-cub"), []
    clustering.at_the_end(recipe, {"embedding": blobs([0, 1, 2, 3])}, None, data, tmp_path, said.append)
    text = (tmp_path / "clustering.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["embedding"]
    assert found["F1"] is None and found["undefined"] == {"F1": "no two items of a class share a cluster"}
    assert found["NMI"] == pytest.approx(100) and found["rand_index"] == 1
    assert said == ["clusters: embedding NMI 100.0  F1 undefined (no two items of a class share a cluster)"]


def test_persons_are_not_clustered():
    with pytest.raises(ValueError, match="osm-mars is scored by CMC and mAP"):
        clustering.score(registry.get("osm-mars"), {}, None, run_data.Data(split([1]), split([1]), {}))


def test_published_nmi_are_those_of_the_papers_table():
    """Slides p17 and p18: L, M, H and H alone."""
    printed = {("rll-sop", "concat"): 90.4, ("rll-sop", "H"): 89.7, ("rll-cub", "concat"): 66.1, ("rll-cub", "H"): 63.6}
    for (name, embedding), value in printed.items():
        assert clustering.published_nmi(registry.get(name), embedding) == value
    assert clustering.published_nmi(registry.get("ms-cub"), "embedding") is None
    assert clustering.published_nmi(registry.get("rll-cub"), "L") is None
    assert clustering.published_nmi(registry.get("rll-tpami-sop"), "concat") is None  # another paper


def test_published_values_stand_beside_official_data_only(capsys):
    found = {"concat": {"NMI": 89.9, "F1": 40.0, "purity": 50.0}}
    clustering.show(registry.get("rll-sop"), found, official=True)
    assert "NMI 89.90, F1 40.00, purity 50.00; the paper printed NMI 90.4" in capsys.readouterr().out
    clustering.show(registry.get("rll-sop"), found, official=False)
    assert "printed" not in capsys.readouterr().out


def test_an_embedded_run_of_a_release_that_clusters_leaves_a_file(tmp_path, monkeypatch):
    labels = np.repeat(range(4), 5)
    data = run_data.Data(split([1]), split(labels), {})
    said: list[str] = []

    def end(name: str) -> None:
        clustering.at_the_end(registry.get(name), {"e": blobs(labels)}, None, data, tmp_path, said.append)

    end("ms-cub")  # its release has no clustering
    assert list(tmp_path.iterdir()) == [] and said == []
    end("rll-cub")
    assert json.loads((tmp_path / "clustering.json").read_text())["e"]["F1"] == 100 and "NMI 100.0" in said[-1]
    monkeypatch.setattr(clustering, "MOST_IMAGES", 10)
    end("rll-cub")
    assert "left out of a test set of more than 10 images" in said[-1]
    monkeypatch.undo()

    def without(*args, **options):
        raise ImportError("k-means needs scikit-learn: pip install 'dml-ports[cluster]'")

    monkeypatch.setattr(clustering.clustering, "kmeans", without)
    end("rll-cub")
    assert said[-1].startswith("NMI and F1 left out: k-means needs scikit-learn")


def test_the_seed_is_the_recipes():
    labels = np.repeat(range(3), 4)
    data = run_data.Data(split([1]), split(labels), {})
    x = {"e": np.random.default_rng(1).normal(size=(12, 8))}
    recipe = registry.get("rll-cub")
    assert clustering.score(recipe, x, None, data) == clustering.score(recipe, x, None, data)
    others = [clustering.score(dataclasses.replace(recipe, seed=seed), x, None, data) for seed in range(8)]
    assert any(other != others[0] for other in others)  # of unstructured features
