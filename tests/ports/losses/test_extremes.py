"""Values that a careless sum loses: halves of very different size, distances of zero."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.every_loss import batch, step

from ports import losses

# -- RankedListLoss: halves of very different size


def halves(x: torch.Tensor, labels: torch.Tensor, T_p: float, T_n: float, margin: float = 1.2, gap: float = 0.4):
    """The released gradient in logarithms, which do not overflow: the formula of the docstring, row by row.

    float32 hyper-parameters as the layer has them.
    """
    import numpy as np

    f32 = lambda v: float(np.float32(v))  # noqa: E731
    x, labels = x.numpy(), labels.numpy()
    difference = x[:, None] - x[None]
    d = np.sqrt((difference**2).sum(2))
    same = (labels[:, None] == labels) & ~np.eye(len(x), dtype=bool)
    other = labels[:, None] != labels
    near, far, log_base = f32(margin) - f32(gap), f32(margin), math.log(f32(2.71828))
    with np.errstate(divide="ignore"):
        log_p = np.where(same & (d > near), f32(T_p) * log_base * (d - near), -np.inf)
        log_n = np.where(other & (d < far), f32(T_n) * log_base * (far - d), -np.inf)
        start = np.full((len(x), 1), math.log(1e-8))
        sum_p, sum_n = (np.logaddexp.reduce(np.hstack([start, log]), axis=1) for log in (log_p, log_n))
        total = np.logaddexp(sum_p, sum_n)
        share = np.exp(total - np.logaddexp(np.logaddexp.reduce(total), math.log(1e-8)))
        weight = 0.5 * np.exp(log_p - sum_p[:, None]) - 0.5 * np.exp(log_n - sum_n[:, None])
    return torch.from_numpy((share[:, None, None] * weight[:, :, None] * difference).sum(1))


@pytest.mark.parametrize(
    ("T_p", "T_n", "scale"), [(0, 10, 1), (0, 700, 1), (0, 3000, 1), (5, 10, 100), (3000, 0, 1), (30, 3000, 30)]
)
def test_both_halves_are_kept(T_p: float, T_n: float, scale: float) -> None:
    """One shift for an anchor's positives and negatives once took the smaller half for 0: exp(-3000)."""
    x, labels = batch(seed=2)
    x = x * scale
    if scale != 1:
        x[3:] = (
            x[3:] / scale * 0.3 + x[0] * torch.linspace(0.9, 1.1, 9, dtype=x.dtype)[:, None]
        )  # some negatives are near
    _, got = step(losses.RankedListLoss(T_p=T_p, T_n=T_n), x, labels)
    expected = halves(x, labels, T_p, T_n)
    # Weights exp(T hinge) of hinges rounded to 2^-52 each: T |x| 1e-16 relative; T |x| <= 3000 here.
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11 * float(expected.abs().max()))
    assert torch.isfinite(got).all() and got.any()


def test_the_lost_half_is_what_the_oracle_sees() -> None:
    """The wrong port: the positives' force missing. It is far outside the tolerance above."""
    x, labels = batch(seed=2)
    with_positives = halves(x, labels, 0, 3000)
    without = halves(x, torch.arange(12), 0, 3000)
    assert (with_positives - without).abs().max() > 1e-3 * with_positives.abs().max()


# -- ContrastiveLoss, library


def test_library_contrastive_drops_positives_at_distance_zero() -> None:
    """By hand, margin 1: positives at 0 and 0.6; the mean is over the second alone. Negatives at 1 and beyond add nothing."""
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.82, math.sqrt(1 - 0.82**2)], [-1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1])
    got, gradient = step(losses.ContrastiveLoss(variant="library"), x, labels)
    assert float(got) == pytest.approx(0.6, abs=1e-12)  # sqrt(2 - 2 * 0.82)
    assert torch.isfinite(gradient).all()
    got, gradient = step(losses.ContrastiveLoss(variant="library"), x[:2], labels[:2])
    assert got == 0 and not gradient.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_library_contrastive_with_duplicates_equals_the_peer(dtype: torch.dtype) -> None:
    peer = pytest.importorskip("pytorch_metric_learning.losses")
    x, labels = batch(dtype=dtype)
    x = torch.cat([x, x[[0, 0, 5]]])
    labels = torch.cat([labels, labels[[0, 0, 5]]])
    ours, gradient = step(losses.ContrastiveLoss(variant="library"), x, labels)
    theirs, expected = step(peer.ContrastiveLoss(), x, labels)
    # cdist takes differences of up to 25 rows; float32 sums of 20 terms.
    rtol = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=10 * rtol * float(expected.abs().max()))
