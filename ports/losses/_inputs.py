"""What every loss checks before it computes: shapes, labels, dtype, and which pairs take part.

Only `indices_tuple` and the labels that `check_classes` is given are looked at by value (one device synchronisation; none
under `torch.compile`). Rows that are not finite are not refused: `nan_where_not_finite` is the one rule for them.
"""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ports.losses._indices import pair_indices, pair_mask

# torch compares and sorts few of these; as int64, equal labels stay equal and different ones different.
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


class PairBatch(NamedTuple):
    """The pairs of one loss call: anchors are rows, partners are columns.

    embeddings: (N, D) anchors in the dtype that the loss computes in (float16 and bfloat16 become float32).
    partners:   (M, D); the very same tensor as `embeddings` when no `ref_emb` was given.
    positive:   (N, M) bool, equal labels; a sample is never its own partner.
    negative:   (N, M) bool, different labels.
    itself:     True when the partners are the anchors themselves.
    """

    embeddings: Tensor
    partners: Tensor
    labels: Tensor
    partner_labels: Tensor
    positive: Tensor
    negative: Tensor
    itself: bool

    def rows(self) -> dict[str, Tensor]:
        """What must be finite, by the names of the caller's arguments."""
        own = {"embeddings": self.embeddings, "labels": self.labels}
        return own if self.itself else {**own, "ref_emb": self.partners, "ref_labels": self.partner_labels}


def check_embeddings(embeddings: Tensor, *, name: str = "embeddings") -> Tensor:
    """`embeddings` (N, D) floating, raised to float32 if it has fewer bits.

    Raises TypeError for a tensor that is not floating and ValueError for any other number of dimensions.
    """
    if not isinstance(embeddings, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape (N, D), got {type(embeddings).__name__}")
    if not embeddings.is_floating_point():
        raise TypeError(f"{name} must be floating point, got dtype {embeddings.dtype}")
    if embeddings.dim() != 2:
        raise ValueError(f"{name} must have shape (N, D), got {tuple(embeddings.shape)}")
    return embeddings.float() if embeddings.dtype in (torch.float16, torch.bfloat16) else embeddings


def check_labels(labels: Tensor, embeddings: Tensor, *, name: str = "labels", of: str = "embeddings") -> Tensor:
    """`labels` (N,), integer (unsigned ones as int64) or float, on the device of `embeddings`; only equality matters.

    Raises TypeError for bool, complex or no tensor, ValueError when the shape is not one label per row.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape (N,), got {type(labels).__name__}")
    if labels.dtype == torch.bool or labels.is_complex():
        raise TypeError(f"{name} must be integers or floats, got dtype {labels.dtype}")
    if labels.dim() != 1 or labels.shape[0] != embeddings.shape[0]:
        raise ValueError(
            f"{name} must have shape (N,), one per row of {of}: got {name} {tuple(labels.shape)} "
            f"with {of} {tuple(embeddings.shape)}"
        )
    labels = labels.to(embeddings.device)
    return labels.to(torch.int64) if labels.dtype in _UNSIGNED else labels


def check_numbers(loss: object, **options: float | None) -> None:
    """ValueError that names the first option which is no finite number; None is left to the loss."""
    for name, value in options.items():
        if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
            raise ValueError(f"{type(loss).__name__}: {name} must be a finite number, got {value!r}")


def nan_where_not_finite(loss: object, value: Tensor, **rows: Tensor | None) -> Tensor:
    """`value` as it is; NaN, with NaN gradients, where one of the `rows` (N, D) or (N,) holds NaN or an infinity.

    Without this rule a loss that drops such a row by a comparison is finite while its gradients are NaN. On a CPU a
    RuntimeWarning says how many rows there are and which is the first; elsewhere that would have to wait for the device.
    """
    for name, tensor in rows.items():
        if tensor is None or tensor.numel() == 0 or not tensor.is_floating_point():
            continue
        low, high = torch.aminmax(tensor.detach())  # both are NaN where one entry is; many times faster than isfinite
        if torch.compiler.is_compiling() or value.device.type != "cpu":
            value = value * (1 + (low - low) + (high - high)).to(value.dtype)
        elif not (math.isfinite(low) and math.isfinite(high)):
            bad = ~torch.isfinite(tensor.detach()).reshape(len(tensor), -1).all(1)
            warnings.warn(
                f"{type(loss).__name__}: {int(bad.sum())} of {len(bad)} rows of {name} are not finite, the first is row "
                f"{int(bad.nonzero()[0])}; the loss is NaN",
                RuntimeWarning,
                stacklevel=2,
            )
            value = value * math.nan
    return value


def check_classes(labels: Tensor, classes: int, ignore: int | None = None) -> None:
    """Raise ValueError for the first label outside 0..classes-1 that is not `ignore`: no class has its number.

    The only check here that looks at values: it waits for the device once. Under `torch.compile`, whose graph it would
    break, it is left out.
    """
    if torch.compiler.is_compiling():
        return
    outside = (labels < 0) | (labels >= classes)
    if ignore is not None:
        outside = outside & (labels != ignore)
    if bool(outside.any()):
        position = int(outside.reshape(-1).nonzero()[0])
        ignored = "" if ignore is None else f" (ignore_label is {ignore})"
        raise ValueError(
            f"label {labels.reshape(-1)[position].item():g} of sample {position} is outside the {classes} classes "
            f"0..{classes - 1}{ignored}"
        )


def refuse(loss: object, **arguments: Any) -> None:
    """Raise ValueError that names every argument which is not None: this loss gives it no meaning."""
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ValueError(f"{type(loss).__name__} does not support {', '.join(given)}; leave it out (None)")


def pair_batch(
    loss: object,
    embeddings: Tensor,
    labels: Tensor,
    indices_tuple: tuple[Tensor, ...] | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
) -> PairBatch:
    """Check the five arguments of a pair loss, as pytorch-metric-learning's users pass them.

    `ref_emb` (M, D) with `ref_labels` (M,) replaces the batch as partners; `indices_tuple` restricts the pairs to those
    of a miner, either (anchors, positives, anchors, negatives) or triplets (anchors, positives, negatives); an index out of
    range raises ValueError. Without `ref_emb` the diagonal is left out; with it
    nothing is (a memory that holds the batch itself must say so through `indices_tuple`).
    """
    x = check_embeddings(embeddings)
    labels = check_labels(labels, x)
    if (ref_emb is None) != (ref_labels is None):
        missing = "ref_labels" if ref_labels is None else "ref_emb"
        raise ValueError(f"{type(loss).__name__}: ref_emb and ref_labels come together, but {missing} is None")
    itself = ref_emb is None or ref_emb is embeddings
    if itself:
        y, partner_labels = x, labels
    else:
        y = check_embeddings(ref_emb, name="ref_emb").to(x)  # type: ignore[arg-type]
        partner_labels = check_labels(ref_labels, y, name="ref_labels", of="ref_emb")  # type: ignore[arg-type]
        if y.shape[1] != x.shape[1]:
            raise ValueError(f"ref_emb {tuple(y.shape)} and embeddings {tuple(x.shape)} differ in their dimension D")
    positive = labels[:, None] == partner_labels[None, :]
    negative = ~positive
    if itself:
        positive = positive.fill_diagonal_(False)
    if indices_tuple is not None:
        rows, columns = positive.shape
        a1, p, a2, n = pair_indices(loss, indices_tuple, rows, columns, x.device)
        positive = positive & pair_mask(a1, p, rows, columns)
        negative = negative & pair_mask(a2, n, rows, columns)
    return PairBatch(x, y, labels, partner_labels, positive, negative, itself)


def autocast_off(tensor: Any) -> torch.autocast:
    """Context in which matrix products keep the dtype of their operands, whatever surrounds the loss.

    What is no tensor passes, so that the check inside can name it. The meta device knows no autocast and has none to end (asking
    torch for that is beyond the tracing of torch.compile in 2.7).
    """
    kind = tensor.device.type if isinstance(tensor, Tensor) else "cpu"
    return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)
