"""The RLL releases' sampler (train_v02.m, train_multiGPUs.m, get_train_minibatch_ori_aug_v03/_v05.m)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ports.samplers.base import BatchSampler, check_product, group_by_label, matlab_choice, numbered

__all__ = ["ClassEpochSampler"]


class ClassEpochSampler(BatchSampler):
    """Epochs over classes: floor(C / P) * P of the C classes in random order, P at a time, K images of each.

    The C mod P classes that an epoch leaves out are drawn anew each epoch. Images of a class are different ones where it
    has K or more, else see `matlab_choice`. A batch is P blocks of K.

    Args:
        labels: one per image.
        ids: P, classes per batch. images: K, images per class. batch_size: checked against P x K when given.
        seed: an int, or a NumPy generator that nobody else uses.
        repeat_first_slice: the CVPR'19 SOP script starts its counter at 1 and reads it back as 1 after the first step, so
            the first P classes serve the first two steps (with newly drawn images). The other scripts start at 0.

    Raises:
        ValueError: fewer than P classes, batch_size other than P x K, no labels.
    """

    def __init__(
        self,
        labels: Sequence[int] | NDArray[Any],
        *,
        ids: int = 60,
        images: int = 3,
        seed: int | np.random.Generator,
        batch_size: int | None = None,
        repeat_first_slice: bool = False,
    ) -> None:
        check_product(batch_size, ids, images, "identities x images")
        self.classes, self._members = group_by_label(labels)
        if len(self.classes) < ids:
            raise ValueError(f"{len(self.classes)} classes are fewer than the {ids} of one batch")
        self.groups, self.images, self.batch_size = ids, images, ids * images
        self.repeat_first_slice = repeat_first_slice
        super().__init__(numbered(labels), seed, images=images, repeat_first_slice=bool(repeat_first_slice))

    @property
    def batches_per_epoch(self) -> int:
        return len(self.classes) // self.groups

    def _round(self) -> Iterator[list[int]]:
        order = self.rng.permutation(len(self.classes))
        slices = list(range(self.batches_per_epoch))
        if self.repeat_first_slice and self.epoch == 0:
            slices.insert(0, 0)
        for s in slices:
            batch: list[int] = []
            for c in order[s * self.groups : (s + 1) * self.groups]:
                members = self._members[c]
                batch += members[matlab_choice(self.rng, len(members), self.images)].tolist()
            yield batch
