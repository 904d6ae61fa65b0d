"""Clustering metrics against the RLL release's printed numbers and scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.paths import DATA

from ports.metrics.clustering import AVERAGES, clustering_metrics, kmeans

RECORDED = DATA / "metrics"

CASES = [
    "n60_k6_c6",
    "n100_k10_c7",
    "n37_k5_c12",
    "n200_k20_c20",
    "perfect",
    "one_cluster_two_items",
    "all_singletons",
    "noncontiguous_cluster_labels",
]
PRINTED = {
    "Purity": "purity",
    "Mutual information": "mutual_information",
    "Entropy cluster": "entropy_clusters",
    "Entropy item": "entropy_classes",
    "NMI": "nmi",
    "RI": "rand_index",
    "Precision": "precision",
    "Recall": "recall",
    "F_beta": "f1",
}


@pytest.mark.parametrize("name", CASES)
def test_released_numbers(name):
    z = np.load(RECORDED / "matlab" / f"clustering_{name}.npz")
    result = clustering_metrics(z["idx"], z["item_ids"])
    # Sums of at most some hundred terms below 1 in another order.
    np.testing.assert_allclose(result.nmi, z["NMI"][0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(result.rand_index, z["RI"][0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(result.f1, z["F"][0], rtol=0, atol=1e-15)
    printed = json.loads((RECORDED / "matlab" / "clustering_printed.json").read_text())[name]
    for theirs, ours in PRINTED.items():  # printed with six decimals
        np.testing.assert_allclose(getattr(result, ours), printed[theirs], rtol=0, atol=5.1e-7, err_msg=theirs)
    assert [printed[k] for k in ("TP", "FP", "FN", "TN")] == [result.tp, result.fp, result.fn, result.tn]


def test_nmi_variants_on_fixed_partitions():
    z = np.load(RECORDED / "python" / "nmi" / "partitions.npz")
    for i, record in enumerate(json.loads((RECORDED / "python" / "nmi" / "partitions.json").read_text())):
        for average in AVERAGES:
            ours = clustering_metrics(z[f"a{i}"], z[f"b{i}"], average=average).nmi
            assert ours == pytest.approx(record[average], abs=1e-13), (i, average)


@pytest.mark.parametrize("name", ["separated", "overlap", "hard"])
def test_nmi_of_the_recorded_clusters(name):
    """The variant matters: arithmetic and geometric differ by more than the tolerance on these partitions."""
    z = np.load(RECORDED / "python" / "nmi" / f"{name}.npz")
    record = json.loads((RECORDED / "python" / "nmi" / f"{name}.json").read_text())
    for init in (1, 10):
        for average in AVERAGES:
            ours = clustering_metrics(z[f"pred_n_init{init}"], z["labels"], average=average).nmi
            assert ours == pytest.approx(record[f"nmi_n_init{init}_{average}"], abs=1e-13)
    if name != "separated":
        assert abs(record["nmi_n_init1_arithmetic"] - record["nmi_n_init1_geometric"]) > 1e-6


@pytest.mark.parametrize("name", ["separated", "overlap", "hard"])
def test_kmeans_is_as_good_as_the_recorded_one(name):
    """The library's random stream may change between versions; the objective it reaches should not get worse."""
    pytest.importorskip("sklearn")
    z = np.load(RECORDED / "python" / "nmi" / f"{name}.npz")
    x = z["features"].astype(np.float64)
    record = json.loads((RECORDED / "python" / "nmi" / f"{name}.json").read_text())
    clusters = kmeans(x, len(np.unique(z["labels"])), seed=0)
    inertia = sum(((x[clusters == c] - x[clusters == c].mean(0)) ** 2).sum() for c in np.unique(clusters))
    assert inertia <= record["inertia_n_init10"] * 1.03
    assert np.array_equal(clusters, kmeans(x, len(np.unique(z["labels"])), seed=0))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="2 cluster labels and 3 class labels"):
        clustering_metrics([0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="average='mean'"):
        clustering_metrics([0], [0], average="mean")
    with pytest.raises(ValueError, match="n_clusters=4: expected 1 to 3"):
        kmeans(np.ones((3, 2)), 4)
