"""What all samplers share: rounds, state, shards, checks."""

from __future__ import annotations

import operator
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BatchSampler",
    "Sampler",
    "Shard",
    "check_product",
    "check_whole",
    "group_by_label",
    "matlab_choice",
    "numbered",
]


def group_by_label(labels: Sequence[int] | NDArray[Any]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """The distinct labels in ascending order (MATLAB's `unique`) and, for each, its images' indices in ascending order."""
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"labels must be a non-empty list with one label per image, got shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"labels must be finite, but that of image {int((~np.isfinite(array)).argmax())} is not")
    classes, inverse = np.unique(array, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return classes, np.split(order, np.cumsum(np.bincount(inverse))[:-1])


def matlab_choice(rng: np.random.Generator, n: int, k: int) -> NDArray[Any]:
    """k of n items as all the MATLAB releases choose them, 0-based.

    With enough items: k different ones. Otherwise `mod(randperm(k), n) + 1`, which is no even draw: every item comes
    at least floor(k/n) times, and the extra places always go to the same items (for k = 3, n = 2 the second item
    is always the one that appears twice). Only the order is random.
    """
    if n >= k:
        return rng.permutation(n)[:k]
    return (rng.permutation(k) + 1) % n


def numbered(labels: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """(N,) int64: whole numbers as they are, other labels (names, fractions) by their place among the distinct ones."""
    array = np.asarray(labels)
    if array.dtype.kind in "iub" or (array.dtype.kind == "f" and (array == np.floor(array)).all()):
        return array.astype(np.int64)
    return np.unique(array, return_inverse=True)[1].reshape(-1).astype(np.int64)


def check_whole(**counts: Any) -> None:
    """ValueError that names the first count which is no whole number; None passes."""
    for name, value in counts.items():
        try:
            operator.index(0 if value is None else value)
        except TypeError:
            raise ValueError(f"{name} must be a whole number, got {value!r}") from None


def check_product(batch_size: int | None, groups: int, per_group: int, what: str) -> None:
    """The releases assert(batch_size == id_num * image_per_id)."""
    check_whole(batch_size=batch_size, **dict(zip(what.split(" x "), (groups, per_group))))
    if groups < 1 or per_group < 1:
        raise ValueError(f"{what}: {groups} x {per_group} is no batch")
    if batch_size is not None and batch_size != groups * per_group:
        raise ValueError(f"batch size {batch_size} is not {what} = {groups} x {per_group} = {groups * per_group}")


def _plain(value: Any) -> Any:
    """A bit generator's state without NumPy types, so that json can write it."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


class Sampler(Protocol):
    """What a training takes its batches from: a `BatchSampler`, or one process's `Shard` of it."""

    batch_size: int

    def next_batch(self) -> list[int]:
        """The next batch, without an end. Iterating is no part of this: of some samplers it ends with the epoch."""

    def state_dict(self) -> dict[str, Any]:
        """JSON-able, after the last batch that was given."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly there. Raises ValueError for the state of another sampler."""


class BatchSampler(ABC):
    """Base of the samplers; a subclass writes `_round`, the batches of one epoch.

    State is the generator's state at the start of the round and the number of batches taken since; loading draws those
    again. So it is small, and exact wherever it is taken.
    """

    batch_size: int
    groups: int  # how many equal blocks (identities, tracklets) a batch consists of

    def __init__(self, data: NDArray[Any], seed: int | np.random.Generator, **options: Any) -> None:
        """options: what decides the batches besides the data and the batch's shape; a state is of the same ones."""
        self.rng = np.random.default_rng(seed)
        self.epoch = 0
        self.taken = 0
        self._start = _plain(self.rng.bit_generator.state)
        self._batches: Iterator[list[int]] | None = None
        self._data = {"items": int(data.size), "crc32": zlib.crc32(np.ascontiguousarray(data, np.int64).tobytes())}
        self._options = {name: _plain(value) for name, value in options.items()}

    @abstractmethod
    def _round(self) -> Iterator[list[int]]:
        """The batches of one epoch (or of one round, where there are no epochs), at least one."""

    def _begin(self) -> None:
        self._start = _plain(self.rng.bit_generator.state)
        self.taken = 0
        self._batches = self._round()

    def next_batch(self) -> list[int]:
        """The next batch; a new epoch begins where one ends."""
        if self._batches is None:
            self._begin()
        assert self._batches is not None
        batch = next(self._batches, None)
        if batch is None:
            self.epoch += 1
            self._begin()
            batch = next(self._batches)
        self.taken += 1
        return batch

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            yield self.next_batch()

    def state_dict(self) -> dict[str, Any]:
        return {
            "sampler": type(self).__name__,
            "batch_size": self.batch_size,
            "groups": self.groups,
            "options": dict(self._options),
            "data": dict(self._data),
            "epoch": self.epoch,
            "taken": self.taken,
            "rng": self._start,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly after the batch at which the state was taken.

        Raises:
            ValueError: the state is of another sampler, batch shape, list of labels, or of other options. States from
                before options were written have none to compare.
        """
        for key, own in (
            ("sampler", type(self).__name__),
            ("batch_size", self.batch_size),
            ("groups", self.groups),
            ("options", self._options),
            ("data", self._data),
        ):
            if state.get(key, own if key == "options" else None) != own:
                raise ValueError(f"sampler state does not fit: {key} is {state.get(key)!r} there and {own!r} here")
        self.rng.bit_generator.state = state["rng"]
        self.epoch = int(state["epoch"])
        self._begin()
        assert self._batches is not None
        for _ in range(int(state["taken"])):
            next(self._batches)
        self.taken = int(state["taken"])

    def shard(self, rank: int, world: int) -> Shard:
        """This process's part of every batch; all processes must be built with the same seed.

        Parts are consecutive blocks of whole identities, as the releases' multi-GPU scripts cut them. Those multiply the
        identities by the number of GPUs first, so build the sampler with P x world identities for their semantics.
        """
        return Shard(self, rank, world)


class Shard:
    """One process's consecutive part of each batch of a sampler."""

    def __init__(self, sampler: BatchSampler, rank: int, world: int) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not in 0..{world - 1}")
        if sampler.groups % world:
            raise ValueError(
                f"{sampler.groups} identities (or tracklets) a batch do not divide among {world} processes"
            )
        self.sampler, self.rank, self.world = sampler, rank, world
        self.batch_size = sampler.batch_size // world

    def _part(self, batch: list[int]) -> list[int]:
        return batch[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]

    def next_batch(self) -> list[int]:
        return self._part(self.sampler.next_batch())

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.sampler:
            yield self._part(batch)

    def __len__(self) -> int:
        """Batches per epoch; TypeError where the sampler has no epochs."""
        return len(self.sampler)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """The whole sampler's state: a run may be resumed with another number of processes."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.load_state_dict(state)
