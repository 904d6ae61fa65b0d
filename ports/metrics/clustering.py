"""How well clusters agree with classes: NMI, pairwise F1 and Rand index, purity, from counts.

`compute_clutering_metric.m` of the RLL release (NMI = 2 I / (H_cluster + H_class)); `evaluations/NMI.py` of Deep_Metric and
`evaluation/nmi.py` of the classification baseline call scikit-learn's NMI, whose mean was geometric before version 0.22,
when those papers were written, and is arithmetic since. The clustering itself is a library's: published NMI were made
with three different k-means, and no two of them give the same partition.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ports.metrics.finite import check_rows, refuse

AVERAGES = ("arithmetic", "geometric", "min", "max")


class ClusteringResult(NamedTuple):
    """Entropies and mutual information in nats; tp, fp, fn, tn: numbers of pairs.

    precision is NaN where no pair shares a cluster, and so is f1 (as released); recall where none shares a class.
    """

    nmi: float
    f1: float
    rand_index: float
    purity: float
    mutual_information: float
    entropy_clusters: float
    entropy_classes: float
    tp: int
    fp: int
    fn: int
    tn: int
    precision: float
    recall: float


def clustering_metrics(clusters: Any, classes: Any, *, average: str = "arithmetic") -> ClusteringResult:
    """Agreement of two labelings (N,) of the same items; any label values.

    average: what the mutual information is divided by: the "arithmetic" (as released by RLL), "geometric", "min" or "max"
    of the two entropies. Two single groups agree fully (1); otherwise no mutual information is 0 (the original: NaN).
    Raises ValueError for labels that are NaN or infinite, none at all, or two numbers of labels.
    """
    if average not in AVERAGES:
        raise ValueError(f"average={average!r}: expected one of {', '.join(AVERAGES)}")
    a, b = (_codes(x, name) for x, name in ((clusters, "cluster labels"), (classes, "class labels")))
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"{len(a)} cluster labels and {len(b)} class labels: expected as many of each, at least one")
    n = len(a)
    # Only the cells that occur: clusters x classes may be 11,316 x 11,316.
    cells, counts = np.unique(a.astype(np.int64) * (int(b.max()) + 1) + b, return_counts=True)
    per_cluster, per_class = np.bincount(a), np.bincount(b)
    row, column = np.divmod(cells, int(b.max()) + 1)
    p, pa, pb = counts / n, per_cluster / n, per_class / n
    information = float((p * np.log(p / (pa[row] * pb[column]))).sum())
    h_clusters, h_classes = float(-(pa * np.log(pa)).sum()), float(-(pb * np.log(pb)).sum())

    tp = _pairs(counts)
    fp, fn = _pairs(per_cluster) - tp, _pairs(per_class) - tp
    pairs = n * (n - 1) // 2
    tn = pairs - tp - fp - fn
    precision, recall = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
    largest = np.zeros(len(per_cluster), dtype=np.int64)
    np.maximum.at(largest, row, counts)
    return ClusteringResult(
        nmi=_normalised(information, h_clusters, h_classes, average),
        f1=_ratio(2 * precision * recall, precision + recall),
        rand_index=_ratio(tp + tn, pairs),
        purity=float(largest.sum() / n),
        mutual_information=information,
        entropy_clusters=h_clusters,
        entropy_classes=h_classes,
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
        precision=precision,
        recall=recall,
    )


def kmeans(embeddings: Any, n_clusters: int, *, seed: int = 0, n_init: int = 10, max_iter: int = 1000) -> NDArray[Any]:
    """Cluster labels (N,) of (N, D) embeddings by scikit-learn's k-means.

    n_init: restarts; Deep_Metric and the classification baseline ran with the library's default of their time, 10. The RLL
    release runs at most 1000 iterations with as many clusters as test classes. Raises ImportError with the extra to
    install, ValueError for rows that are not finite and where there are more clusters than embeddings.
    """
    x = _array(embeddings)
    check_rows(x)
    if not 1 <= n_clusters <= len(x):
        raise ValueError(f"n_clusters={n_clusters}: expected 1 to {len(x)}, the number of embeddings")
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ImportError("k-means needs scikit-learn: pip install 'dml-ports[cluster]'") from error
    return KMeans(n_clusters, n_init=n_init, max_iter=max_iter, random_state=seed).fit(x).labels_


def _array(x: Any) -> NDArray[Any]:
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def _codes(labels: Any, name: str) -> NDArray[Any]:
    """(N,) number of each label among the distinct ones."""
    array = _array(labels).reshape(-1)
    if array.dtype.kind == "f":
        refuse(~np.isfinite(array), name, "are NaN or infinite", item="label")
    return np.unique(array, return_inverse=True)[1].reshape(-1)


def _pairs(counts: NDArray[Any]) -> int:
    counts = counts.astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")


def _normalised(information: float, h1: float, h2: float, average: str) -> float:
    if h1 == h2 == 0:
        return 1.0
    if information <= np.finfo(np.float64).eps:  # of rounding; also where one entropy is zero
        return 0.0
    means = {"arithmetic": (h1 + h2) / 2, "geometric": np.sqrt(h1 * h2), "min": min(h1, h2), "max": max(h1, h2)}
    return float(information / means[average])
