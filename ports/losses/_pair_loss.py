"""What the pair losses of the Python originals share: the call, and the self-pair rule."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ports.losses._inputs import PairBatch, autocast_off, nan_where_not_finite, pair_batch


def check_variant(loss: object, variant: str, allowed: tuple[str, ...]) -> str:
    """`variant` if this loss has it; ValueError that lists the choices otherwise."""
    if variant not in allowed:
        raise ValueError(f"{type(loss).__name__} has no variant {variant!r}; choose one of {', '.join(allowed)}")
    return variant


class PairLoss(nn.Module):
    """A loss over (anchor, partner) pairs; subclasses define `compute(batch, same)`.

    `forward(embeddings (N, D), labels (N,), indices_tuple=None, ref_emb=None, ref_labels=None, *, exclude=None)` returns
    a scalar in the dtype of the embeddings (float32 for float16 and bfloat16, also under autocast). With `ref_emb` (M, D)
    and `ref_labels` (M,) the partners are those rows (a memory) instead of the batch. `indices_tuple` restricts the
    pairs to those of a miner; `exclude` (N, M) bool leaves pairs out (a memory marks each anchor's own copy with it).
    An empty batch, or an empty memory, gives 0; a row that is not finite makes it NaN. No second derivative (RuntimeError).
    """

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        exclude: Tensor | None = None,
    ) -> Tensor:
        batch = pair_batch(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
        # The released programs compare labels only and drop the anchor itself later, by the value of its similarity.
        same = ~batch.negative if indices_tuple is None else batch.positive
        if exclude is not None:
            wanted = tuple(batch.positive.shape)
            if not isinstance(exclude, Tensor) or exclude.shape != wanted or exclude.dtype != torch.bool:
                got = (
                    f"{exclude.dtype} {tuple(exclude.shape)}" if isinstance(exclude, Tensor) else type(exclude).__name__
                )
                raise ValueError(f"exclude must be a bool torch.Tensor {wanted} (anchors x partners), got {got}")
            same = same & ~exclude
            batch = batch._replace(positive=batch.positive & ~exclude, negative=batch.negative & ~exclude)
        if batch.positive.numel() == 0:
            return batch.embeddings[:0].sum()
        with autocast_off(batch.embeddings):
            return nan_where_not_finite(self, self.compute(batch, same), **batch.rows())

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        """The scalar loss; `same` (N, M) marks equal labels, the anchor itself included where it is a partner."""
        raise NotImplementedError
