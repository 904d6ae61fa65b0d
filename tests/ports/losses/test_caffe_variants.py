"""`paper` and `library` variants of the released losses, against the formulas written out and against the library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.loss_batches import clustered, value_and_gradient

from ports.losses import ClassAwareAttention, OnlineSoftMiningLoss, RankedListLoss


def batch(seed: int, classes: int = 5, each: int = 3, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    return clustered(torch.arange(classes).repeat_interleave(each), dim=dim, spread=0.6, seed=seed)


def paper_ranked_list(x, labels, near, far, T_p, T_n, balance):
    """The slides' formula, anchor by anchor."""
    total = 0.0
    for i in range(len(x)):
        d = [float((x[i] - x[j]).norm()) for j in range(len(x))]
        members = [j for j in range(len(x)) if j != i and labels[j] == labels[i] and d[j] > near]
        if members:
            w = [np.exp(T_p * (d[j] - near)) for j in members]
            total += sum(w_j * (d[j] - near) for w_j, j in zip(w, members)) / sum(w)
        members = [j for j in range(len(x)) if labels[j] != labels[i] and d[j] < far]
        if members:
            w = [np.exp(T_n * (far - d[j])) for j in members]
            total += balance * sum(w_j * (far - d[j]) for w_j, j in zip(w, members)) / sum(w)
    return total / len(x)


@pytest.mark.parametrize("release, near, far", [("cvpr19", 0.8, 1.2), ("tpami", 0.8, 1.2), ("tpami", 0.9, 1.1)])
@pytest.mark.parametrize("T_p, T_n, balance", [(0.0, 10.0, 1.0), (2.0, 5.0, 0.5)])
def test_paper_ranked_list(release, near, far, T_p, T_n, balance):
    x, labels = batch(3)
    loss = RankedListLoss(
        margin=far, pn_margin=far - near, T_p=T_p, T_n=T_n, release=release, variant="paper", balance=balance
    )
    value, _ = value_and_gradient(loss, x, labels)
    expected = paper_ranked_list(x, labels, near, far, T_p, T_n, balance)
    np.testing.assert_allclose(value, expected, rtol=1e-12)  # a few hundred float64 operations
    # Differences of a value known to 1e-16 over steps of 1e-6 carry 1e-10; no pair of this batch is within 1e-6 of a hinge.
    assert torch.autograd.gradcheck(loss, (x.clone().requires_grad_(), labels), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("T_p, T_n, imbalance", [(0, 4, 0.5), (2, 5, 0.3)])
def test_library_ranked_list_equals_the_library(seed, T_p, T_n, imbalance):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    x, labels = batch(seed)
    x = 3 * x  # the library normalises by itself
    peer = losses.RankedListLoss(margin=0.4, Tn=T_n, imbalance=imbalance, alpha=1.2, Tp=T_p)
    ours = RankedListLoss(1.2, 0.4, T_p, T_n, variant="library", balance=imbalance)
    value, grad = value_and_gradient(ours, x, labels)
    peer_value, peer_grad = value_and_gradient(peer, x, labels)
    # The library's distances come from |x|^2 + |y|^2 - 2xy: 1e-16 / d each, times T.
    np.testing.assert_allclose(value, peer_value, rtol=1e-11)
    np.testing.assert_allclose(grad, peer_grad, rtol=0, atol=1e-11 * float(peer_grad.abs().max()))
    assert torch.autograd.gradcheck(ours, (x.clone().requires_grad_(), labels), atol=1e-6, rtol=1e-6)


def test_library_is_not_the_release():
    """The reason why this port exists: on unit rows the library's gradient points elsewhere."""
    pytest.importorskip("pytorch_metric_learning")
    for seed in range(3):
        x, labels = batch(seed, classes=10, dim=16)
        _, released = value_and_gradient(RankedListLoss(), x, labels)
        _, library = value_and_gradient(RankedListLoss(variant="library"), x, labels)
        tangent = released - (released * x).sum(1, keepdim=True) * x  # the library's has no radial part
        cosine = (tangent * library).sum() / (tangent.norm() * library.norm())
        assert 0.5 < cosine < 0.95


@pytest.mark.parametrize("sigma, mean", [(0.8, 0.0), (0.3, 0.5)])
def test_paper_online_soft_mining(sigma, mean):
    x, labels = batch(4)
    attention = torch.rand(len(x), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss = OnlineSoftMiningLoss(1.2, sigma, mean, variant="paper")
    value, grad = value_and_gradient(loss, x, labels, attention=attention)
    weights, terms, forces, signs = [], [], [], []
    pairs = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x))]
    for i, j in pairs:
        d = float((x[i] - x[j]).norm())
        positive = bool(labels[i] == labels[j])
        hinge = max(0.0, np.float64(np.float32(1.2)) - d)
        soft = np.exp(-0.5 * ((d - float(np.float32(mean))) / float(np.float32(sigma))) ** 2) if positive else hinge
        weights.append(soft * min(float(attention[i]), float(attention[j])))
        terms.append(0.5 * d**2 if positive else 0.5 * hinge**2)
        forces.append((x[i] - x[j]) * (1.0 if positive else -hinge / d))
        signs.append(positive)
    totals = {s: sum(w for w, sign in zip(weights, signs) if sign == s) for s in (True, False)}
    weights = [0.5 * w / totals[s] for w, s in zip(weights, signs)]
    expected = torch.zeros_like(x)
    for (i, j), w, force in zip(pairs, weights, forces):
        expected[i] += w * force
        expected[j] -= w * force
    # margin 1.2 against 1.2f in the terms: 5e-8 of them.
    np.testing.assert_allclose(value, sum(w * t for w, t in zip(weights, terms)), rtol=2e-7)
    np.testing.assert_allclose(grad, expected, rtol=0, atol=2e-7 * float(expected.abs().max()))


def test_released_online_soft_mining_is_the_papers_divided_by_the_number_of_pairs():
    x, labels = batch(5, classes=8, each=7)
    _, released = value_and_gradient(OnlineSoftMiningLoss(), x, labels)
    _, paper = value_and_gradient(OnlineSoftMiningLoss(variant="paper"), x, labels)
    # 1e-4 in the divisor of the released force: 1e-4 of 0.4 and more
    np.testing.assert_allclose(1540 * released, paper, rtol=0, atol=1e-3 * float(paper.abs().max()))


def test_paper_attention_is_the_probability():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0])
    p = torch.softmax(logits, 1)[:, 0]
    torch.testing.assert_close(ClassAwareAttention(variant="paper")(logits, labels).attention, p)
    released = ClassAwareAttention()(logits, labels).attention
    expected = torch.exp(-0.5 * ((p - 1) / 0.68) ** 2) / (2 * np.pi * 0.68**2) ** 0.5
    torch.testing.assert_close(released, expected, rtol=1e-6, atol=0)  # 0.68f
