"""Caffe's contrastive losses on a list of pairs: the layers that the released pair losses are built on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ports.float32 import f32
from ports.losses._inputs import autocast_off, check_embeddings, check_numbers, nan_where_not_finite
from ports.losses._released import released

_ABNORMAL_SCORE = 0.05 + 1e-12


def abnormal(*scores: Tensor) -> Tensor:
    """() bool: some score is <= 0.05. The OSM + CAA release then drops the whole batch (loss 0, gradient 0)."""
    if not all(isinstance(score, Tensor) for score in scores):
        raise TypeError(
            f"scores must be torch.Tensors of shape (1,), got {', '.join(type(s).__name__ for s in scores)}"
        )
    return torch.stack([(s.detach().double() <= _ABNORMAL_SCORE).any() for s in scores]).any()


def check_rows(**tensors: Tensor) -> list[Tensor]:
    """All tensors (N, D) floating, of one shape; raises ValueError that quotes their shapes."""
    checked = [check_embeddings(t, name=name) for name, t in tensors.items()]
    if len({t.shape for t in checked}) > 1:
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())
        raise ValueError(f"all rows must have one shape (N, D), got {shapes}")
    return checked


class _PairListLoss(nn.Module):
    """forward(a (N, D), b (N, D), similar (N,)): row i is one pair, similar[i] != 0 for a positive one."""

    def forward(self, a: Tensor, b: Tensor, similar: Tensor, scores: tuple[Tensor, ...] = ()) -> Tensor:
        with autocast_off(a):
            a, b = check_rows(a=a, b=b)
            if not isinstance(similar, Tensor) or similar.shape != a.shape[:1]:
                got = tuple(similar.shape) if isinstance(similar, Tensor) else type(similar).__name__
                raise ValueError(f"similar must be a torch.Tensor of shape (N,) = ({a.shape[0]},), got {got}")
            with torch.no_grad():
                difference = a.double() - b.double()
                squared = difference.square().sum(1)
                value, coefficient = self._pairs(squared, squared.sqrt(), similar != 0)
                if scores:
                    drop = abnormal(*scores)
                    value, coefficient = torch.where(drop, 0.0, value), torch.where(drop, 0.0, coefficient)
                force = coefficient[:, None] * difference
            return nan_where_not_finite(self, released(b, released(a, value, force), -force), a=a, b=b)

    def _pairs(self, squared: Tensor, distance: Tensor, similar: Tensor) -> tuple[Tensor, Tensor]:
        """Value, and (N,) coefficients of a_i - b_i in the gradient of a."""
        raise NotImplementedError


class CaffeContrastiveLoss(_PairListLoss):
    """(1/2N) * sum of d^2 (similar) or max(0, margin - d)^2 (not similar) over N given pairs.

    The force between dissimilar rows is divided by d + 1e-4, so gradients are a little short of the true ones.
    `legacy_version`: max(0, margin - d^2) instead, whose gradient is exact.
    `scores`: the two confidences of the five-bottom form of the OSM + CAA release, (1,) each: when one is <= 0.05 the
    whole batch is dropped (loss and gradient 0). N = 0 gives 0.

    Source: contrastive_loss_layer.cpp (BVLC; scores: OSM + CAA release).
    """

    def __init__(self, margin: float = 1.0, *, legacy_version: bool = False) -> None:
        super().__init__()
        check_numbers(self, margin=margin)
        self.margin, self.legacy_version = margin, legacy_version

    def _pairs(self, squared: Tensor, distance: Tensor, similar: Tensor) -> tuple[Tensor, Tensor]:
        margin, count = f32(self.margin), max(squared.shape[0], 1)
        if self.legacy_version:
            hinge = (margin - squared).clamp(min=0)
            term, force = hinge, -(hinge > 0).double()
        else:
            hinge = (margin - distance).clamp(min=0)
            term, force = hinge.square(), -hinge / (distance + 1e-4)
        value = torch.where(similar, squared, term).sum() / (2 * count)
        return value, torch.where(similar, 1.0, force) / count


class CaffeContrastiveLossV2(_PairListLoss):
    """The pair layer below the released RankedListLoss: reports a mean of squared hinges, gives unweighted forces.

    Value: (1/N) * sum of max(0, d - (margin - pn_margin))^2 (similar) or max(0, margin - d)^2 (not similar; with
    `legacy_version` max(0, margin - d^2)), no 1/2. Gradient, which is not its derivative and is not divided by N:
    `cvpr19`: +-(a - b) where the hinge is active; `tpami`: +-(a - b)/(d + 1e-6) for every pair, active or not (the weights
    that RankedListLoss multiplies with are what is 0 there).

    `margin` is called negative_threshold in the `tpami` release (default there 1.2). N = 0 gives 0.
    Source: contrastive_loss_layer_V2.cpp of either release.
    """

    def __init__(
        self,
        margin: float | None = None,
        pn_margin: float = 0.4,
        *,
        legacy_version: bool = False,
        release: str = "cvpr19",
    ) -> None:
        super().__init__()
        if release not in ("cvpr19", "tpami"):
            raise ValueError(f"release must be 'cvpr19' or 'tpami', got {release!r}")
        check_numbers(self, margin=margin, pn_margin=pn_margin)
        self.margin = {"cvpr19": 1.4, "tpami": 1.2}[release] if margin is None else margin
        self.pn_margin, self.legacy_version, self.release = pn_margin, legacy_version, release

    def _pairs(self, squared: Tensor, distance: Tensor, similar: Tensor) -> tuple[Tensor, Tensor]:
        margin = f32(self.margin)
        beyond = (distance - (margin - f32(self.pn_margin))).clamp(min=0)
        term = (margin - squared).clamp(min=0) if self.legacy_version else (margin - distance).clamp(min=0).square()
        value = torch.where(similar, beyond.square(), term).sum() / max(squared.shape[0], 1)
        if self.release == "tpami":
            return value, torch.where(similar, 1.0, -1.0) / (distance + 1e-6)
        return value, torch.where(similar, (beyond > 0).double(), -(term > 0).double())
