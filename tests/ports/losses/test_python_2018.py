"""Deep_Metric's losses of 2018, of which no recording exists: a loop over anchors in NumPy, and cases done by hand."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from helpers.loss_batches import ABOVE_ONE, clustered

from ports import losses

batch = functools.partial(clustered, n=48, classes=9, seed=3, length=ABOVE_ONE)


def bin_deviance(x: torch.Tensor, y: torch.Tensor, margin: float = 0.05, factor: float = 0.04) -> float:
    s, total = (x @ x.T).numpy(), 0.0
    for i in range(len(y)):
        positive = [s[i, j] for j in range(len(y)) if y[j] == y[i] and s[i, j] < 1]
        if not positive:
            continue
        near = [s[i, j] for j in range(len(y)) if y[j] != y[i] and s[i, j] > min(positive) - margin]
        if near:
            total += np.mean([math.log(1 + math.exp(-2 * (v - 0.5))) for v in positive])
            total += factor * np.mean([math.log(1 + math.exp(50 * (v - 0.5))) for v in near])
    return total / len(y)


def neighbour_nca(x: torch.Tensor, y: torch.Tensor, alpha: float = 16.0, k: int = 32) -> float:
    d, total = torch.cdist(x, x).square().numpy(), 0.0
    for i in range(len(y)):
        others = [j for j in range(len(y)) if j != i]
        threshold = sorted(d[i, j] for j in others)[k]
        positive = [d[i, j] for j in others if y[j] == y[i]]
        if not positive:
            continue
        near = [v for v in positive if v < threshold] or [min(positive)]
        far = [d[i, j] for j in others if y[j] != y[i] and d[i, j] < threshold]
        base = d[i].mean()
        own, other = (sum(math.exp(alpha * (base - v)) for v in values) for values in (near, far))
        total -= math.log(own / (own + other))
    return total / len(y)


LOOPS = {
    "bin_deviance": (losses.BinDevianceLoss(), bin_deviance),
    "neighbour_nca": (losses.NeighbourNCALoss(), neighbour_nca),
    "neighbour_nca_k5": (losses.NeighbourNCALoss(4.0, k=5), lambda x, y: neighbour_nca(x, y, 4.0, 5)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_equals_the_loop(name: str) -> None:
    """1e-12 of a value near 1: sums of some fifty terms in double precision, in two orders."""
    loss, loop = LOOPS[name]
    for seed in range(3):
        x, y = batch(seed=seed)
        assert loss(x, y).item() == pytest.approx(loop(x, y), rel=1e-12)
        assert torch.autograd.gradcheck(lambda rows, y=y: loss(rows, y), x.requires_grad_(), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        losses.BinDevianceLoss(margin=0.051),  # 2 %
        losses.BinDevianceLoss(margin=-0.05),  # the miner on the other side
        losses.BinDevianceLoss(factor=2 / 40),
        losses.BinDevianceLoss(slope=40),
        losses.BinomialDevianceLoss(50, 2, hard_mining=True),  # HEAD's mined branch
        losses.BinomialDevianceLoss(),
    ],
)
def test_another_binomial_is_noticed(wrong: torch.nn.Module) -> None:
    errors = [abs(wrong(x, y).item() / bin_deviance(x, y) - 1) for x, y in (batch(seed=s) for s in range(3))]
    assert max(errors) > 1e-11  # ten times what the right loss is held to


@pytest.mark.parametrize(
    "wrong",
    [
        losses.NeighbourNCALoss(k=31),
        losses.NeighbourNCALoss(k=33),
        losses.NeighbourNCALoss(16.32),  # 2 %
        losses.NCALoss(),  # HEAD's inverted sign
        losses.NCALoss(16.0, variant="paper"),  # all neighbours
    ],
)
def test_another_nca_is_noticed(wrong: torch.nn.Module) -> None:
    errors = [abs(wrong(x, y).item() / neighbour_nca(x, y) - 1) for x, y in (batch(seed=s) for s in range(3))]
    assert max(errors) > 1e-11  # ten times what the right loss is held to


def test_bin_deviance_by_hand() -> None:
    """Three rows in the plane: the pair at cosine 0.6, the third at 0.8 to the first and 0 to the second.

    Anchor 1: positive 0.6, negative 0.8 > 0.55 is near. Anchor 2: positive 0.6, negative 0 is not: skipped. Anchor 3 has no
    positive: adds 0. Sum over three.
    """
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, -0.6]], dtype=torch.float64) * 1.0000001
    y = torch.tensor([0, 0, 1])
    by_hand = (math.log(1 + math.exp(-0.2)) + 0.04 * math.log(1 + math.exp(15))) / 3
    assert losses.BinDevianceLoss()(x, y).item() == pytest.approx(by_hand, rel=1e-5)  # rows are 1e-7 too long


def test_nca_by_hand() -> None:
    """Four points of a line at 0, 1, 3, 7 with k = 2: of anchor 0 the threshold is 49, so the neighbours are 1 and 9 away."""
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]], dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 1])
    # squared distances: 0: 1- 9+ 49-; 1: 1- 4- 36+ (the nearest positive is kept); 2: 4- 9+ 16-; 3: 16- 36+ (49 is the third)
    terms = []
    for own, other in (([9], [1]), ([36], [1, 4]), ([9], [4]), ([36], [16])):
        p, n = (sum(math.exp(-v / 10) for v in values) for values in (own, other))
        terms.append(-math.log(p / (p + n)))
    assert losses.NeighbourNCALoss(0.1, k=2)(x, y).item() == pytest.approx(sum(terms) / 4, rel=1e-12)
