"""Samplers of the PyTorch originals: research-ms-loss (and research-xbm), Deep_Metric, classification_metric_learning.

They take a batch size B and a number of instances K. Where K does not divide B the originals go on with another batch than
was asked for; that is an error here unless `strict=False`, which does as they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.samplers.base import BatchSampler, check_product, check_whole, group_by_label, numbered

__all__ = ["ClassBalanced", "FastRandomIdentity", "MsRandomIdentity"]


class _Instances(BatchSampler):
    """Checks that the three share; P = floor(B / K)."""

    def __init__(
        self,
        labels: Sequence[int] | NDArray[Any],
        *,
        batch_size: int,
        images: int,
        seed: int | np.random.Generator,
        strict: bool = True,
        ignore: Sequence[int] = (),
    ) -> None:
        check_whole(batch_size=batch_size, images=images)
        ids = batch_size // images if images > 0 else 0
        check_product(batch_size if strict else None, ids, images, "identities x images")
        classes, members = group_by_label(labels)
        kept = [i for i, c in enumerate(classes) if c not in ignore]
        self.classes, self._members = classes[kept], [members[i] for i in kept]
        if len(kept) < ids:
            raise ValueError(f"{len(kept)} classes are fewer than the {ids} of one batch")
        self.groups, self.images, self.batch_size = ids, images, ids * images
        super().__init__(numbered(labels), seed, images=images, strict=bool(strict), ignore=np.asarray(ignore).tolist())

    def _epoch_iterator(self) -> Iterator[list[int]]:
        """The rest of the current epoch; the whole of the next one where that is at its end."""
        length = len(self)  # type: ignore[arg-type]
        left = length - self.taken or length
        for _ in range(left):
            yield self.next_batch()


class MsRandomIdentity(_Instances):
    """The MS and XBM papers' sampler (data/samplers/random_identity_sampler.py).

    A round: the shuffled images of each class are cut into chunks of K, the rest dropped; a class with fewer than K is
    filled up by repeats into one chunk that holds all its images. A batch: P random classes among those with chunks
    left, the next chunk of each. With fewer than P such classes the round ends and what is left over is lost.
    """

    def _round(self) -> Iterator[list[int]]:
        chunks: list[list[NDArray[Any]]] = []
        for members in self._members:
            if len(members) < self.images:
                extra = self.rng.choice(members, self.images - len(members), replace=True)
                members = np.concatenate([members, extra])
            shuffled = self.rng.permutation(members)
            whole = len(shuffled) // self.images
            chunks.append([shuffled[i * self.images : (i + 1) * self.images] for i in range(whole)])
        available = list(range(len(chunks)))
        while len(available) >= self.groups:
            chosen = [available[i] for i in self.rng.permutation(len(available))[: self.groups]]
            yield [int(i) for c in chosen for i in chunks[c].pop(0)]
            available = [c for c in available if chunks[c]]


class FastRandomIdentity(_Instances):
    """Deep_Metric's sampler at HEAD (utils/sampler.py): an epoch holds every class once, in random order, K images each.

    K different images, or K drawn with replacement where the class has fewer. The list of C x K images is cut into
    batches of B, the last incomplete one dropped (CUB: 100 x 5 = 500 -> 6 batches of 80, 4 classes unused). With
    `strict=False` B need not be P x K, and a batch may then cut through a class.

    Raises:
        ValueError: also where an epoch is shorter than one batch (the original trains on nothing, without a word).
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[Any],
        *,
        batch_size: int = 80,
        images: int = 5,
        seed: int | np.random.Generator,
        strict: bool = True,
    ) -> None:
        super().__init__(labels, batch_size=batch_size, images=images, seed=seed, strict=strict)
        self.batch_size = batch_size
        if len(self) == 0:
            count = len(self.classes) * images
            raise ValueError(f"{len(self.classes)} classes x {images} = {count} images make no batch of {batch_size}")

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.classes) * self.images // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        return self._epoch_iterator()

    def _round(self) -> Iterator[list[int]]:
        drawn: list[int] = []
        for c in self.rng.permutation(len(self.classes)):
            members = self._members[c]
            drawn += self.rng.choice(members, self.images, replace=len(members) < self.images).tolist()
        for b in range(len(self)):
            yield drawn[b * self.batch_size : (b + 1) * self.batch_size]


class ClassBalanced(_Instances):
    """The classification paper's sampler (metric_learning/sampler.py).

    Each batch: P different classes, K images of each drawn *with* replacement, also from large classes. Batches are
    independent, an epoch is a count: floor(N / B) batches, N with the ignored labels' images. `ignore` lists labels
    never drawn.
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[Any],
        *,
        batch_size: int = 75,
        images: int = 25,
        seed: int | np.random.Generator,
        strict: bool = True,
        ignore: Sequence[int] = (),
    ) -> None:
        super().__init__(labels, batch_size=batch_size, images=images, seed=seed, strict=strict, ignore=ignore)
        self._length = len(labels) // batch_size
        if self._length == 0:
            raise ValueError(f"{len(labels)} images make no batch of {batch_size}")

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        return self._epoch_iterator()

    def _round(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            batch: list[int] = []
            for c in self.rng.permutation(len(self.classes))[: self.groups]:
                batch += self.rng.choice(self._members[c], self.images, replace=True).tolist()
            yield batch
