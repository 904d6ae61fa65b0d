"""The OSM+CAA release's samplers (get_train_minibatch.m; get_train_minibatch_Mars/_LPW_V006_even*.m)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.samplers.base import BatchSampler, check_product, group_by_label, matlab_choice, numbered

__all__ = ["RandomIdentitySampler", "TrackletSampler"]


class RandomIdentitySampler(BatchSampler):
    """P different classes drawn afresh for every batch, K images of each: no epochs (CUB and CARS196: 8 x 7).

    Raises:
        ValueError: fewer than P classes, batch_size other than P x K, no labels.
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[Any],
        *,
        ids: int = 8,
        images: int = 7,
        seed: int | np.random.Generator,
        batch_size: int | None = None,
    ) -> None:
        check_product(batch_size, ids, images, "identities x images")
        self.classes, self._members = group_by_label(labels)
        if len(self.classes) < ids:
            raise ValueError(f"{len(self.classes)} classes are fewer than the {ids} of one batch")
        self.groups, self.images, self.batch_size = ids, images, ids * images
        super().__init__(numbered(labels), seed, images=images)

    def _round(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for c in self.rng.permutation(len(self.classes))[: self.groups]:
            members = self._members[c]
            batch += members[matlab_choice(self.rng, len(members), self.images)].tolist()
        yield batch


class TrackletSampler(BatchSampler):
    """MARS and LPW: T / 2 identities, each twice, each time one random tracklet of it and F random frames.

    The order is a b c a b c. The two tracklets of an identity are drawn independently and may be the same one, with
    other frames.

    Args:
        tracklets: for each tracklet the indices of its frames. labels: the identity of each tracklet.
        per_batch: T, tracklets per batch (even). frames: F, frames per tracklet.

    Raises:
        ValueError: T odd, an empty tracklet, fewer than T / 2 identities, batch_size other than T x F.
    """

    def __init__(
        self,
        tracklets: Sequence[Sequence[int]],
        labels: Sequence[int] | NDArray[Any],
        *,
        per_batch: int = 6,
        frames: int = 9,
        seed: int | np.random.Generator,
        batch_size: int | None = None,
    ) -> None:
        check_product(batch_size, per_batch, frames, "tracklets x frames")
        if per_batch % 2:
            raise ValueError(f"{per_batch} tracklets a batch: every identity comes twice, so the number must be even")
        if len(tracklets) != len(labels):
            raise ValueError(f"{len(tracklets)} tracklets, but {len(labels)} labels")
        self._frames = [np.asarray(t, dtype=np.int64) for t in tracklets]
        for i, t in enumerate(self._frames):
            if t.size == 0:
                raise ValueError(f"tracklet {i} (label {labels[i]}) has no frames")
        self.classes, self._members = group_by_label(labels)
        if len(self.classes) < per_batch // 2:
            raise ValueError(f"{len(self.classes)} identities are fewer than the {per_batch // 2} of one batch")
        self.groups, self.frames, self.batch_size = per_batch, frames, per_batch * frames
        super().__init__(np.concatenate([numbered(labels), *self._frames]), seed, frames=frames)

    def _round(self) -> Iterator[list[int]]:
        chosen = self.rng.permutation(len(self.classes))[: self.groups // 2]
        batch: list[int] = []
        for c in [*chosen, *chosen]:
            members = self._members[c]
            frames = self._frames[members[self.rng.integers(len(members))]]
            batch += frames[matlab_choice(self.rng, len(frames), self.frames)].tolist()
        yield batch
