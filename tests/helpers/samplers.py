"""One small sampler of each kind, and labels of classes of unequal size."""

from __future__ import annotations

import numpy as np

from ports.samplers import (
    ClassBalanced,
    ClassEpochSampler,
    FastRandomIdentity,
    MsRandomIdentity,
    RandomIdentitySampler,
    TrackletSampler,
)

RAGGED = [7, 5, 3, 12, 5, 9, 1, 6, 5, 2, 11, 4, 8, 5]


def labels_of(sizes, shuffle=True):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(9).permutation(labels) if shuffle else labels


def build(kind, seed=0, labels=None):
    labels = labels_of([7, 5, 8, 12, 5, 9, 6, 6]) if labels is None else labels
    return {
        "rll": lambda: ClassEpochSampler(labels, ids=2, images=3, seed=seed),
        "rll_sop": lambda: ClassEpochSampler(labels, ids=2, images=3, seed=seed, repeat_first_slice=True),
        "osm": lambda: RandomIdentitySampler(labels, ids=4, images=7, seed=seed),
        "tracklet": lambda: TrackletSampler(np.arange(len(labels) * 3).reshape(-1, 3), labels, frames=2, seed=seed),
        "ms": lambda: MsRandomIdentity(labels, batch_size=20, images=5, seed=seed),
        "fast": lambda: FastRandomIdentity(labels, batch_size=10, images=5, seed=seed),
        "balanced": lambda: ClassBalanced(labels, batch_size=10, images=5, seed=seed),
    }[kind]()


KINDS = ["rll", "rll_sop", "osm", "tracklet", "ms", "fast", "balanced"]
# name -> sampler with these options
MORE = {
    "rll": lambda **o: ClassEpochSampler(labels_of(RAGGED), **{"ids": 4, "images": 3, "seed": 0, **o}),
    "osm": lambda **o: RandomIdentitySampler(labels_of(RAGGED), **{"ids": 4, "images": 3, "seed": 0, **o}),
    "ms": lambda **o: MsRandomIdentity(labels_of(RAGGED), **{"batch_size": 12, "images": 3, "seed": 0, **o}),
    "fast": lambda **o: FastRandomIdentity(labels_of(RAGGED), **{"batch_size": 12, "images": 3, "seed": 0, **o}),
    "balanced": lambda **o: ClassBalanced(labels_of(RAGGED), **{"batch_size": 12, "images": 3, "seed": 0, **o}),
}
