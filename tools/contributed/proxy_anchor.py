"""Proxy Anchor loss (Kim, Kim, Cho and Kwak, CVPR 2020, equation 4) in NumPy alone, and the golden set made from it.

    python tools/contributed/proxy_anchor.py FOLDER
    python -m golden add FOLDER --formula tools/contributed/proxy_anchor.py:proxy_anchor

Written from the printed formula, with the gradient derived by hand; it shares nothing with golden's own formula of the loss
(golden/references/proxy_anchor.py), which is held to these numbers.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def proxy_anchor(
    embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray, alpha: float, delta: float
) -> tuple[float, tuple[np.ndarray, np.ndarray]]:
    """(value, (gradient by embeddings (N, D), gradient by proxies (C, D))). s is the cosine of a row with a proxy.

    1/|P+| sum over proxies with positives of log(1 + sum over their samples of e^(-alpha (s - delta)))
    + 1/|P| sum over all proxies of log(1 + sum over the other samples of e^(alpha (s + delta))).
    """
    row_lengths, proxy_lengths = np.linalg.norm(embeddings, axis=1), np.linalg.norm(weights, axis=1)
    rows, proxies = embeddings / row_lengths[:, None], weights / proxy_lengths[:, None]
    total = len(proxies)
    value, by_cosine = 0.0, np.zeros((len(rows), total))
    present = sorted(set(labels.tolist()))
    for k in range(total):
        cosines = rows @ proxies[k]
        own, other = np.flatnonzero(labels == k), np.flatnonzero(labels != k)
        if k in present:
            pulls = np.exp(-alpha * (cosines[own] - delta))
            value += np.log1p(pulls.sum()) / len(present)
            by_cosine[own, k] -= alpha * pulls / (1 + pulls.sum()) / len(present)
        pushes = np.exp(alpha * (cosines[other] + delta))
        value += np.log1p(pushes.sum()) / total
        by_cosine[other, k] += alpha * pushes / (1 + pushes.sum()) / total
    cosines = rows @ proxies.T
    # The derivative of a cosine by a row: (proxy - cosine * row) / the row's length; by a proxy alike.
    by_rows = (by_cosine @ proxies - (by_cosine * cosines).sum(1)[:, None] * rows) / row_lengths[:, None]
    by_proxies = (by_cosine.T @ rows - (by_cosine * cosines).sum(0)[:, None] * proxies) / proxy_lengths[:, None]
    return float(value), (by_rows, by_proxies)


PARAMS = {"alpha": 32.0, "delta": 0.1}
# name -> (samples of each class, rows' lengths). All have 7 proxies in 8 dimensions: a module is built for one number of proxies.
BATCHES: dict[str, tuple[list[int], str]] = {
    "plain_7x2": ([2, 2, 2, 2, 2, 2, 2], "unit"),
    "more_proxies_4x3": ([3, 3, 3, 3], "unit"),
    "near_5x2": ([2, 2, 2, 2, 2], "near"),
    "uneven_n11": ([5, 2, 4], "unit"),
    "duplicates_3x3": ([3, 3, 3], "unit"),
    "one_class_n5": ([5], "unit"),
    "single_in_class": ([3, 1, 2], "unit"),
    "long_rows_4x2": ([2, 2, 2, 2], "long"),
}


def batch(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(embeddings float64, labels int64, proxies float64) of a seeded batch; rows lie around their proxies, of `near` ones closely."""
    (counts, kind), dim, total = BATCHES[name], 8, 7
    rng = np.random.RandomState(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = rng.randn(total, dim)
    noise = 0.1 if kind == "near" else 1.2
    centres = weights[labels] / np.linalg.norm(weights[labels], axis=1)[:, None]
    rows = centres + rng.randn(len(labels), dim) * noise / np.sqrt(dim)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    if kind == "long":
        rows *= rng.uniform(0.5, 3.0, (len(rows), 1))
    if name.startswith("duplicates"):
        rows[1], rows[4] = rows[0], rows[0]
    return rows, labels, weights


def main(folder: Path) -> None:
    arrays: dict[str, Any] = {}
    for seed, name in enumerate(BATCHES):
        rows, labels, weights = batch(name, seed)
        value, (by_rows, by_proxies) = proxy_anchor(rows, labels, weights, **PARAMS)
        arrays |= {f"{name}:input:embeddings": rows, f"{name}:input:labels": labels, f"{name}:input:weights": weights}
        arrays |= {f"{name}:float64:loss": np.asarray(value)}
        arrays |= {f"{name}:float64:grad_embeddings": by_rows, f"{name}:float64:grad_weights": by_proxies}
    facts = {
        "format": 1,
        "name": "proxy-anchor",
        "what": "Proxy Anchor loss as printed, alpha 32, delta 0.1 (independent program, not the authors')",
        "signature": "embeddings*, labels, weights*",
        "params": PARAMS,
        "kind": "independent_program",
        "program": "tools/contributed/proxy_anchor.py of this repository (NumPy)",
        "release": "Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, equation 4",
        "source": "the printed formula; gradient derived by hand and compared with finite differences",
        "licence": "numbers only, computed by us; no source text",
        "cases": {name: ["float64"] for name in BATCHES},
    }
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    (folder / "cases.npz").write_bytes(buffer.getvalue())
    (folder / "set.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
