"""The blobs of a forward pass by name, some of them computed only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor


class Blobs(Mapping[str, Tensor]):
    """Blob name -> tensor, in the order of their first appearance."""

    def __init__(self, blobs: Mapping[str, Tensor]) -> None:
        self._blobs: dict[str, Tensor | Callable[[], Tensor]] = dict(blobs)

    def __setitem__(self, name: str, blob: Tensor) -> None:
        self._blobs[name] = blob

    def defer(self, name: str, compute: Callable[[], Tensor]) -> None:
        """`name` is what `compute()` returns, called at the first look."""
        self._blobs[name] = compute

    def drop(self, name: str) -> None:
        self._blobs.pop(name, None)

    def __getitem__(self, name: str) -> Tensor:
        blob = self._blobs[name]
        if not isinstance(blob, Tensor):
            blob = self._blobs[name] = blob()
        return blob

    def __iter__(self) -> Iterator[str]:
        return iter(self._blobs)

    def __len__(self) -> int:
        return len(self._blobs)
