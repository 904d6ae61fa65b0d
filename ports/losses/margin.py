"""Margin loss with distance-weighted sampling (Wu et al., Sampling Matters in Deep Embedding Learning, ICCV 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ports.losses._blocks import row_blocks
from ports.losses._classes import check_classes
from ports.losses._indices import check_indices, same_length
from ports.losses._inputs import (
    autocast_off,
    check_embeddings,
    check_labels,
    check_numbers,
    nan_where_not_finite,
    refuse,
)
from ports.losses._once import once
from ports.losses._pair_loss import check_variant
from ports.miners import distance_weighted_triplets


class _Distances(torch.autograd.Function):
    """(T,) sqrt(|x_first - x_second|^2 + 1e-8) of listed pairs of rows, a block of pairs at a time.

    Its gradient is summed by products with one-hot rows: no scatter.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        blocks = row_blocks(len(first), x.shape[1], x.device)
        squared = [x[first[i:j]].sub_(x[second[i:j]]).square_().sum(1) for i, j in blocks]
        distances = torch.cat([*squared, x[:0, 0]]).add_(1e-8).sqrt_()
        ctx.save_for_backward(x, first, second, distances)
        return distances

    @staticmethod
    @once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, first, second, distances = ctx.saved_tensors
        weight, sample = gradients[0] / distances, torch.arange(len(x), device=x.device)
        total = torch.zeros_like(x)
        with autocast_off(x):
            for i, j in row_blocks(len(first), x.shape[1], x.device):
                # Differences before weights: 1/d is up to 1e4, and sums of weighted rows would cancel.
                pull = x[first[i:j]].sub_(x[second[i:j]]).mul_(weight[i:j, None])
                one_hot = (first[i:j] == sample[:, None]).to(x).sub_((second[i:j] == sample[:, None]).to(x))
                total.addmm_(one_hot, pull)
        return total, None, None


class MarginLoss(nn.Module):
    """max(0, d_ap - beta + margin) + max(0, beta - d_an + margin) over triplets, d = sqrt(sum (x - y)^2 + 1e-8).

    `beta` is a learnable boundary per class (`num_classes` given; it is the anchor's class that counts), or one for all:
    a plain number, or a parameter with `learn_beta=True`. Without `indices_tuple`, one triplet per anchor is drawn by
    `ports.miners.distance_weighted_triplets` (`cutoff`, `generator`); triplets (anchors, positives, negatives) passed as
    `indices_tuple` are used as they are.

    variant:
      "as_released"  research-ms-loss, losses/margin_loss.py: the sum is divided by c, the number of non-zero positive
                     terms plus the number of non-zero negative terms (not divided when c = 0). That is the file under its
                     pinned torch 1.1, where comparisons are uint8 and + counts; from torch 1.2 on the same line counts a
                     triplet once (`count="triplets"`), which makes the loss up to twice as large. nu is not used, and the
                     released optimiser never gets beta, so it stays at 1.2.
      "paper"        the same, plus `nu` times the sum of the anchors' beta, divided by c as well.
    Anchors without a positive or a negative are left out (the original stops with a ValueError).
    """

    beta: nn.Parameter | float

    def __init__(
        self,
        margin: float = 0.2,
        beta: float = 1.2,
        num_classes: int | None = None,
        *,
        learn_beta: bool | None = None,
        nu: float = 0.0,
        cutoff: float = 0.5,
        count: str = "terms",
        generator: torch.Generator | None = None,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, ("as_released", "paper"))
        check_numbers(self, margin=margin, beta=beta, nu=nu, cutoff=cutoff)
        if count not in ("terms", "triplets"):
            raise ValueError(f"count must be 'terms' or 'triplets', got {count!r}")
        if nu and variant != "paper":
            raise ValueError(f"nu={nu} belongs to variant 'paper'; the released loss never reads it")
        self.margin = margin
        self.num_classes = num_classes
        self.nu = nu
        self.cutoff = cutoff
        self.count = count
        self.generator = generator
        if learn_beta is None:
            learn_beta = num_classes is not None
        if num_classes is not None:
            self.beta = nn.Parameter(torch.full((num_classes,), float(beta)), requires_grad=learn_beta)
        else:
            self.beta = nn.Parameter(torch.tensor(float(beta))) if learn_beta else float(beta)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Scalar loss of embeddings (N, D) with labels (N,); with `num_classes`, labels are class indices."""
        refuse(self, ref_emb=ref_emb, ref_labels=ref_labels)
        x = check_embeddings(embeddings)
        labels = check_labels(labels, x)
        if len(x) == 0:
            return x.sum()
        if indices_tuple is None:
            anchors, positives, negatives, valid = distance_weighted_triplets(
                x, labels, cutoff=self.cutoff, generator=self.generator
            )
        elif isinstance(indices_tuple, (tuple, list)) and len(indices_tuple) == 3:
            sizes = dict.fromkeys(("anchors", "positives", "negatives"), len(x))
            anchors, positives, negatives = same_length(self, *check_indices(self, indices_tuple, sizes, x.device))
            valid = torch.ones_like(anchors, dtype=torch.bool)
        else:
            sized = isinstance(indices_tuple, (tuple, list))
            got = f"{len(indices_tuple)} index tensors" if sized else type(indices_tuple).__name__
            raise ValueError(f"MarginLoss takes triplets (anchors, positives, negatives), got {got}")
        with autocast_off(x):
            value = self._triplet_loss(x, labels, anchors, positives, negatives, valid)
            return nan_where_not_finite(self, value, embeddings=x, labels=labels)

    def _triplet_loss(
        self, x: Tensor, labels: Tensor, anchors: Tensor, positives: Tensor, negatives: Tensor, valid: Tensor
    ) -> Tensor:
        d = _Distances.apply(x, torch.cat([anchors, anchors]), torch.cat([positives, negatives]))
        d_ap, d_an = d[: len(anchors)], d[len(anchors) :]
        beta: Tensor | float = self.beta
        if isinstance(self.beta, Tensor):
            beta = self.beta.to(x.dtype)
            if self.num_classes is not None:
                anchor_class = check_classes(labels, self.num_classes)[anchors]
                beta = (anchor_class[:, None] == torch.arange(self.num_classes, device=x.device)).to(x) @ beta
        attract = (d_ap - beta + self.margin).clamp_min(0).masked_fill(~valid, 0)
        repel = (beta - d_an + self.margin).clamp_min(0).masked_fill(~valid, 0)
        if self.count == "terms":
            divisor = (attract > 0).sum() + (repel > 0).sum()
        else:
            divisor = ((attract > 0) | (repel > 0)).sum()
        total = (attract + repel).sum()
        if self.nu:
            total = total + self.nu * (beta * valid.to(x)).sum()
        return total / divisor.clamp_min(1)
