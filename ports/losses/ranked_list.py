"""Ranked List Loss (Wang et al., CVPR 2019, and its journal extension, TPAMI 2021).

What the authors released is Caffe's `DistanceWeightedValidPairLossV12` on top of `ContrastiveLossV2`; the two releases
carry the same layer type but compute different gradients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ports.float32 import f32
from ports.losses._blocks import row_blocks, sum_of_rows
from ports.losses._exact_distances import SquaredDistances, exact_root, exact_squared_distances, forced
from ports.losses._inputs import PairBatch, autocast_off, check_numbers, nan_where_not_finite, pair_batch

_EPSILON = 1e-8  # start value of every sum of weights in the released layers
_UNIT_EPSILON = 1e-6  # TPAMI: added to the distance that a force is divided by
_LIBRARY_EPSILON = 1e-5  # pytorch-metric-learning: added to every weight of a row
_SMALLEST = 1e-300  # instead of a start value that underflows
_LEAST_EXPONENT = -700.0  # exp() of it is a normal number
_LARGEST_IN_FLOAT32 = 60.0  # exp() of it times 1e6 is far from float32's overflow
_TOGETHER = 2**14  # pairs of a block, which has a dozen float64 buffers
_LARGEST_EXPONENT = 600.0  # exp() of it is still far from float64's overflow, also when summed


def _start(shift: Tensor) -> Tensor:
    """The start value of a sum that is divided by exp(shift)."""
    return (_EPSILON * torch.exp(-shift)).clamp_(min=_SMALLEST)


def _hinge(gaps: Tensor, mask: Tensor) -> Tensor:
    """(B, M) gaps above 0 within the mask, else 0; `gaps` is used up."""
    return gaps.clamp_(min=0).mul_(mask)


def _weights(hinge: Tensor, rate: float, shift: Tensor | None) -> Tensor:
    """(B, M) exp(rate * hinge - shift) where the hinge is above 0, else 0; `hinge` is used up."""
    if rate == 0:
        return hinge.sign_()
    active = hinge.sign()
    exponent = hinge.mul_(rate)
    if shift is not None:
        exponent.sub_(shift)
    # What would underflow is slow, and far below float64's resolution beside the largest.
    return exponent.clamp_(min=_LEAST_EXPONENT).exp_().mul_(active)


def _count(pairs: PairBatch) -> Tensor:
    """() number of pairs, at least 1."""
    return (pairs.positive.count_nonzero() + pairs.negative.count_nonzero()).clamp(min=1).double()


class RankedListLoss(nn.Module):
    """Ranked List Loss; the defaults are the CVPR 2019 release with its setting for SOP.

    Args:
        margin: alpha, the distance beyond which a negative is trivial. Release `tpami` does not know it.
        pn_margin: m, the gap between the boundary of positives and that of negatives.
            `cvpr19`: positives count beyond alpha - m, negatives below alpha. `tpami`: 1 - m/2 and 1 + m/2.
        T_p, T_n: temperatures of the pair weights base^(T * hinge).
        base: base of the weights. The release stores 2.71828 (not e) in a float32. `base_n`: another one for
            negatives.
        legacy_version: the released layers' switch: the reported hinge of negatives is max(0, margin - d^2) and, in
            `cvpr19`, a negative also needs margin - d^2 > 0 to get a force.
        negative_threshold: `tpami` only: boundary of negatives in the reported value, which the gradient ignores.
            Default 1.2, that layer's own.
        release: `cvpr19` or `tpami`, which of the two layers.
        variant: `as_released`: value and gradient of the released layer, all hyper-parameters rounded to float32 as
            protobuf stores them. The gradient is not the derivative of the value (mean of the squared hinges over all
            pairs): weights, normalisers and the partner of a pair are constants, an anchor's positives and negatives
            share 1/2 and 1/2 of its part, its part of the batch is that of its summed weights, and a force is x_i -
            x_j (`cvpr19`) or the unit vector (`tpami`), not scaled by the hinge.
            `paper`: the formula of the authors' slides, mean over anchors of L_P + balance * L_N with weighted means
            of the hinges as L_P and L_N, differentiated as it stands. Base e.
            `library`: what pytorch-metric-learning's RankedListLoss computes, (1 - balance) * L_P + balance * L_N on
            L2-normalised embeddings, 1e-5 added to every weight of a normaliser. Base e.
        balance: lambda of `paper` (default 1) or the imbalance of `library` (default 0.5).

    Shape: embeddings (N, D), used as they are (the recipes L2-normalise before), labels (N,) integer or float; scalar out.
    `ref_emb` (M, D) and `ref_labels` (M,) take the batch's place as partners; in `as_released` they get no gradient, as
    partners never do. `indices_tuple` restricts the pairs.

    Empty sets: an anchor without active positives (negatives) loses that half; no active pair at all gives 0 with zero
    gradient, and so does a batch of one. Distances so large that the weights overflow are rescaled; the released formula is
    inf / inf there.

    Source: distance_weighted_valid_pair_loss_V12_layer.cpp, contrastive_loss_layer_V2.cpp; RLL_CVPR19_V01.pdf, p. 9-12.
    """

    def __init__(
        self,
        margin: float = 1.2,
        pn_margin: float = 0.4,
        T_p: float = 0.0,
        T_n: float = 10.0,
        *,
        base: float = 2.71828,
        base_n: float | None = None,
        legacy_version: bool = False,
        negative_threshold: float | None = None,
        release: str = "cvpr19",
        variant: str = "as_released",
        balance: float | None = None,
    ) -> None:
        super().__init__()
        if release not in ("cvpr19", "tpami"):
            raise ValueError(f"release must be 'cvpr19' or 'tpami', got {release!r}")
        if variant not in ("as_released", "paper", "library"):
            raise ValueError(f"variant must be 'as_released', 'paper' or 'library', got {variant!r}")
        if variant == "as_released" and balance is not None:
            raise ValueError("balance is fixed to one half each in variant 'as_released'")
        check_numbers(
            self, margin=margin, pn_margin=pn_margin, T_p=T_p, T_n=T_n, base=base, base_n=base_n,
            negative_threshold=negative_threshold, balance=balance,
        )  # fmt: skip
        base_n = base if base_n is None else base_n
        if not (base > 0 and base_n > 0):
            raise ValueError(f"base and base_n must be positive, got {base} and {base_n}")
        if negative_threshold is not None and release != "tpami":
            raise ValueError("negative_threshold exists in release 'tpami' only; cvpr19 has margin")
        self.margin, self.pn_margin, self.T_p, self.T_n = margin, pn_margin, T_p, T_n
        self.base, self.base_n, self.legacy_version = base, base_n, legacy_version
        self.release, self.variant = release, variant
        self.negative_threshold = 1.2 if negative_threshold is None else negative_threshold
        self.balance = {"paper": 1.0, "library": 0.5}.get(variant, 0.5) if balance is None else balance

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: tuple[Tensor, ...] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        with autocast_off(embeddings):
            pairs = pair_batch(self, embeddings, labels, indices_tuple, ref_emb, ref_labels)
            if self.variant == "as_released":
                with torch.no_grad():
                    each_once = pairs.itself and indices_tuple is None and self._weighs_in_float32()
                    value, coefficients = (self._released_once if each_once else self._released)(pairs)
                value = forced(pairs.embeddings, None if pairs.itself else pairs.partners.detach(), value, coefficients)
            else:
                value = self._formula(pairs)
            return nan_where_not_finite(self, value, **pairs.rows())

    def _boundaries(self) -> tuple[float, float]:
        """Distances beyond which positives, and below which negatives, are weighted."""
        if self.release == "tpami":
            return 1 - f32(self.pn_margin) / 2, 1 + f32(self.pn_margin) / 2
        return f32(self.margin) - f32(self.pn_margin), f32(self.margin)

    def _rates(self) -> tuple[float, float]:
        """A pair's weight is exp(rate * hinge): of positives, of negatives."""
        return f32(self.T_p) * math.log(f32(self.base)), f32(self.T_n) * math.log(f32(self.base_n))

    def _weighs_in_float32(self) -> bool:
        """Are weights, and weights over a small distance, numbers that float32 has, whatever the distances are?"""
        rate_p, rate_n = self._rates()
        return rate_p == 0 and 0 <= rate_n * self._boundaries()[1] < _LARGEST_IN_FLOAT32

    def _released_once(self, pairs: PairBatch) -> tuple[Tensor, Tensor]:
        """`_released` of a batch with itself: a pair's weight is that of both its ends, and is computed once."""
        x = pairs.embeddings
        squared = SquaredDistances(x)
        value = x.new_zeros((), dtype=torch.float64)
        weights = x.new_empty(len(x), len(x))  # of negatives below 0; not divided by their sums yet
        sum_p, sum_n = (x.new_full((len(x), 1), _EPSILON, dtype=torch.float64) for _ in range(2))
        for start, stop, block in squared.upper_blocks(_TOGETHER):
            positive, negative = pairs.positive[start:stop, start:], pairs.negative[start:stop, start:]
            terms, weight_p, weight_n, divisor = self._pairs(block, positive, negative)
            beyond = slice(stop - start, None)  # the pairs that stand here once
            value = value + terms.sum() + terms[:, beyond].sum()
            for sums, weight in ((sum_p, weight_p), (sum_n, weight_n)):
                sums[start:stop] += weight.sum(1, keepdim=True)
                sums[stop:, 0] += weight[:, beyond].sum(0)
            weights[start:stop, start:] = weight_p.sub_(weight_n).mul_(divisor)
            weights[stop:, start:stop] = weights[start:stop, stop:].T
            del block
        totals = sum_p + sum_n
        # An anchor's share of the batch is that of its summed weights; its positives and negatives have one half each.
        share = 0.5 * totals / (totals.sum() + _EPSILON)
        scale_p, scale_n = (share / sum_p).to(x.dtype), (share / sum_n).to(x.dtype)
        for start, stop in row_blocks(len(x), len(x), x.device):
            part = weights[start:stop]
            of_positives = part.clamp(min=0)
            part.sub_(of_positives).mul_(scale_n[start:stop]).addcmul_(of_positives, scale_p[start:stop])
        return value / _count(pairs), weights

    def _released(self, pairs: PairBatch) -> tuple[Tensor, Tensor]:
        """Value and (N, M) coefficients of x_i - y_j in the gradient of anchor i, a block of anchors at a time.

        Sums of weights are divided by exp(shift), which is 1 unless they would overflow. An anchor's positives and its
        negatives have a shift each: one for both would take the smaller ones, however many, for 0.
        """
        x = pairs.embeddings
        squared = SquaredDistances(x, None if pairs.itself else pairs.partners)
        rows, columns = pairs.positive.shape
        value = x.new_zeros((), dtype=torch.float64)
        coefficients = x.new_empty(rows, columns)
        totals, shifts = (x.new_zeros((rows, 1), dtype=torch.float64) for _ in range(2))
        for start, stop, block in squared.blocks(_TOGETHER):
            shift_p, shift_n = self._shifts(block, pairs.positive[start:stop], pairs.negative[start:stop])
            terms, weight_p, weight_n, divisor = self._pairs(
                block, pairs.positive[start:stop], pairs.negative[start:stop], shift_p, shift_n
            )
            value = value + terms.sum()
            sum_p = weight_p.sum(1, keepdim=True).add_(_start(shift_p))
            sum_n = weight_n.sum(1, keepdim=True).add_(_start(shift_n))
            shift = torch.maximum(shift_p, shift_n)
            totals[start:stop] = sum_p * torch.exp(shift_p - shift) + sum_n * torch.exp(shift_n - shift)
            shifts[start:stop] = shift
            # An anchor's positives and negatives have one half each.
            weight = weight_p.mul_(0.5 / sum_p).sub_(weight_n.mul_(0.5 / sum_n))
            coefficients[start:stop] = weight.mul_(divisor)
            del block
        # An anchor's share of the batch is that of its summed weights.
        shift = shifts.amax() if shifts.numel() else 0.0 * value
        totals = totals * torch.exp(shifts - shift)
        share = totals / (totals.sum() + _start(shift))
        return value / _count(pairs), coefficients.mul_(share.to(x.dtype))

    def _shifts(self, squared: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1) each: what is taken off the exponents of a row's positives and negatives; 0 where nothing can overflow."""
        near, far = self._boundaries()
        rate_p, rate_n = self._rates()
        # Active positives lie beyond `near`, active negatives below `far`.
        if rate_p <= 0 and rate_n * far < _LARGEST_EXPONENT:
            return (squared.new_zeros(len(squared), 1),) * 2
        distance = squared.sqrt()
        largest_p = rate_p * _hinge(distance - near, positive).amax(1, keepdim=True)
        largest_n = rate_n * _hinge(far - distance, negative).amax(1, keepdim=True)
        return (largest_p - _LARGEST_EXPONENT).clamp_(min=0), (largest_n - _LARGEST_EXPONENT).clamp_(min=0)

    def _pairs(
        self,
        squared: Tensor,
        positive: Tensor,
        negative: Tensor,
        shift_p: Tensor | None = None,
        shift_n: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of B anchors against M partners, (B, M) each: terms of the reported value, weights of positives and of negatives
        (times exp(-shift)), and what weights are multiplied by where they become coefficients of x_i - x_j.
        `squared` is used up.

        Hinges instead of masks: torch reads numbers several times faster than it makes numbers of bools.
        """
        near, far = self._boundaries()
        rate_p, rate_n = self._rates()
        distance = squared.sqrt()
        hinge_p = _hinge(distance - near, positive)
        hinge_n = _hinge(far - distance, negative)
        value = self._value(squared, distance, positive, negative, hinge_p, hinge_n)
        weight_p, weight_n = _weights(hinge_p, rate_p, shift_p), _weights(hinge_n, rate_n, shift_n)
        # Equal rows have no direction: without this, rounding noise of theirs (for `tpami` times 1e6) would enter.
        trivial = negative & (squared >= f32(self.margin)) if self.legacy_version and self.release == "cvpr19" else None
        divisor = squared.sign_()
        if self.release == "tpami":
            divisor = divisor.div_(distance.add_(_UNIT_EPSILON))
        elif trivial is not None:
            divisor = divisor.masked_fill_(trivial, 0)
        return value, weight_p, weight_n, divisor

    def _value(
        self, squared: Tensor, distance: Tensor, positive: Tensor, negative: Tensor, hinge_p: Tensor, hinge_n: Tensor
    ) -> Tensor:
        """(B, M) terms of the reported value; the hinges are those of the weights."""
        alpha = f32(self.margin)
        if self.release == "tpami":  # the value has boundaries of its own
            alpha = f32(self.negative_threshold)
            hinge_p = _hinge(distance - (alpha - f32(self.pn_margin)), positive)
            hinge_n = _hinge(alpha - distance, negative)
        if self.legacy_version:
            return hinge_p.square().add_(_hinge(alpha - squared, negative))
        return (hinge_p + hinge_n).square_()  # a pair has one of them

    def _formula(self, pairs: PairBatch) -> Tensor:
        x, y = pairs.embeddings, None if pairs.itself else pairs.partners
        if self.variant == "library":
            x = nn.functional.normalize(x)
            y = None if y is None else nn.functional.normalize(y)
        squared = exact_squared_distances(x, y)
        return sum_of_rows(squared, self._terms, pairs.positive, pairs.negative) / max(len(x), 1)

    def _terms(self, squared: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        distance = exact_root(squared)
        near, far = self.margin - self.pn_margin, self.margin
        if self.release == "tpami":
            near, far = 1 - self.pn_margin / 2, 1 + self.pn_margin / 2
        # `library` drops negatives at distance 0: it marks members of a set by a positive entry.
        floor = 0.0 if self.variant == "library" else -1.0
        positive = positive & (distance > near) & (distance > floor)
        negative = negative & (distance < far) & (distance > floor)
        loss_p = self._weighted_mean(distance - near, self.T_p, positive)
        loss_n = self._weighted_mean(far - distance, self.T_n, negative)
        if self.variant == "library":
            return (1 - self.balance) * loss_p + self.balance * loss_n
        return loss_p + self.balance * loss_n

    def _weighted_mean(self, hinge: Tensor, temperature: float, member: Tensor) -> Tensor:
        """(N,) means of the hinges of each row's members, weighted by exp(T * hinge); 0 for an empty row."""
        exponent = torch.where(member, temperature * hinge, -torch.inf)
        if self.variant == "library":
            weight = exponent.exp()
            return (weight * hinge).sum(1) / (weight + _LIBRARY_EPSILON).sum(1).clamp(min=_LIBRARY_EPSILON)
        any_member = member.any(1, keepdim=True)
        weight = torch.softmax(torch.where(any_member, exponent, 0.0), dim=1)
        return (weight * torch.where(member, hinge, 0.0)).sum(1)
