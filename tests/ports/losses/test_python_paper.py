"""The printed formulas, written out sample by sample, against the dense code: value and gradient.

The loops below are the oracle: plain sums over index sets in float64, differentiated by autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ports import losses
from ports.losses._mixing import released_rows
from ports.losses.batch_all import all_triplets

relu = torch.relu


def log1pexp(z: Tensor) -> Tensor:
    return torch.log1p(torch.exp(z))


def mean(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).mean() if terms else torch.zeros((), dtype=torch.float64)


class Sets:
    """Distances, similarities and index sets of a batch."""

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        n = len(x)
        self.n = n
        self.s = [[(x[i] * x[j]).sum() for j in range(n)] for i in range(n)]
        self.d2 = [[(x[i] - x[j]).square().sum() for j in range(n)] for i in range(n)]
        self.d = [[self.d2[i][j].sqrt() if i != j else self.d2[i][j] for j in range(n)] for i in range(n)]
        self.pos = [[j for j in range(n) if j != i and labels[j] == labels[i]] for i in range(n)]
        self.neg = [[j for j in range(n) if labels[j] != labels[i]] for i in range(n)]


def multi_similarity(b: Sets) -> Tensor:
    total = zero = torch.zeros((), dtype=torch.float64)
    for i in range(b.n):
        if not b.pos[i] or not b.neg[i]:
            continue
        low, high = min(b.s[i][j] for j in b.pos[i]), max(b.s[i][j] for j in b.neg[i])
        negatives = [b.s[i][j] for j in b.neg[i] if b.s[i][j] > low - 0.1]
        positives = [b.s[i][j] for j in b.pos[i] if b.s[i][j] < high + 0.1]
        total = total + torch.log(1 + sum((torch.exp(-2 * (s - 1)) for s in positives), zero)) / 2
        total = total + torch.log(1 + sum((torch.exp(50 * (s - 1)) for s in negatives), zero)) / 50
    return total / b.n


def contrastive(b: Sets) -> Tensor:
    terms = [b.d2[i][j] / 2 for i in range(b.n) for j in b.pos[i]]
    return mean(terms + [relu(1.5 - b.d[i][j]).square() / 2 for i in range(b.n) for j in b.neg[i]])


def binomial(b: Sets) -> Tensor:
    attract = [log1pexp(-2 * (b.s[i][j] - 0.5)) for i in range(b.n) for j in b.pos[i]]
    return mean(attract) + mean([log1pexp(10 * (b.s[i][j] - 0.5)) for i in range(b.n) for j in b.neg[i]])


def lifted(b: Sets) -> Tensor:
    terms = []
    for i in range(b.n):
        for j in b.pos[i]:
            others = [torch.exp(1 - b.d[i][k]) for k in b.neg[i]] + [torch.exp(1 - b.d[j][k]) for k in b.neg[j]]
            terms.append(relu(torch.log(sum(others)) + b.d[i][j]).square() / 2)
    return mean(terms)


def nca(b: Sets, expected: bool) -> Tensor:
    terms = []
    for i in range(b.n):
        if b.pos[i]:
            p = sum(torch.exp(-b.d2[i][j]) for j in b.pos[i])
            p = p / (p + sum(torch.exp(-b.d2[i][j]) for j in b.neg[i]))
            terms.append(1 - p if expected else -torch.log(p))
    return mean(terms)


def semi_hard(b: Sets) -> Tensor:
    terms = []
    for i in range(b.n):
        for p in b.pos[i]:
            farther = [b.d2[i][k] for k in b.neg[i] if b.d2[i][k] > b.d2[i][p]]
            terms.append(relu(b.d2[i][p] - min(farther) + 0.5) if farther else 0 * b.d2[i][p])
    return mean(terms)


def batch_all(b: Sets, nonzero: bool) -> Tensor:
    terms = [relu(b.d[i][p] - b.d[i][k] + 0.2) for i in range(b.n) for p in b.pos[i] for k in b.neg[i]]
    return mean([t for t in terms if t > 0] if nonzero else terms)


def batch_hard(b: Sets, soft: bool) -> Tensor:
    terms = []
    for i in range(b.n):
        if b.pos[i] and b.neg[i]:
            gap = max(b.d[i][j] for j in b.pos[i]) - min(b.d[i][j] for j in b.neg[i])
            terms.append(log1pexp(gap) if soft else relu(gap + 0.2))
    return mean(terms)


PAPER: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[Sets], Tensor]]] = {
    "multi_similarity": (lambda: losses.MultiSimilarityLoss(variant="paper"), multi_similarity),
    "contrastive": (lambda: losses.ContrastiveLoss(1.5, variant="paper"), contrastive),
    "binomial": (lambda: losses.BinomialDevianceLoss(cost=5, variant="paper"), binomial),
    "lifted": (lambda: losses.LiftedStructureLoss(variant="paper"), lifted),
    "nca": (lambda: losses.NCALoss(variant="paper"), lambda b: nca(b, False)),
    "nca_expected": (lambda: losses.NCALoss(variant="paper", objective="expected"), lambda b: nca(b, True)),
    "semi_hard": (lambda: losses.SemiHardLoss(margin=0.5, variant="paper"), semi_hard),
    "batch_all": (lambda: losses.BatchAllLoss(variant="paper"), lambda b: batch_all(b, False)),
    "batch_all_nonzero": (lambda: losses.BatchAllLoss(nonzero=True, variant="paper"), lambda b: batch_all(b, True)),
    "batch_hard": (lambda: losses.BatchHardLoss(), lambda b: batch_hard(b, False)),
    "batch_hard_soft": (lambda: losses.BatchHardLoss(None), lambda b: batch_hard(b, True)),
}
BATCHES = {"3x4": [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], "unequal": [2, 0, 0, 1, 0, 1, 0, 3, 1, 0]}


@pytest.mark.parametrize("labels", BATCHES.values(), ids=list(BATCHES))
@pytest.mark.parametrize("name", PAPER)
def test_equals_the_printed_formula(name: str, labels: list[int]) -> None:
    make, formula = PAPER[name]
    g = torch.Generator().manual_seed(7)
    y = torch.tensor(labels)
    x = torch.nn.functional.normalize(torch.randn(len(y), 5, generator=g, dtype=torch.float64)).requires_grad_()
    expected = formula(Sets(x, y))
    (gradient,) = torch.autograd.grad(expected, x)
    value = make()(x, y)
    (ours,) = torch.autograd.grad(value, x)
    assert gradient.any()
    # Distances come from the Gram matrix: 1e-16 / d^2 relative, with the batch's smallest d^2 near 0.05.
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours, gradient, rtol=1e-10, atol=1e-12)


def test_proxy_nca_equals_the_printed_formula() -> None:
    g = torch.Generator().manual_seed(8)
    x = torch.randn(6, 4, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 2, 1, 1, 0, 2])
    loss = losses.ProxyNCALoss(3, 4, scale=2.0).double()
    unit = torch.nn.functional.normalize
    d = [[2.0 * (unit(x, dim=1)[i] - unit(loss.weight)[c]).square().sum() for c in range(3)] for i in range(6)]
    terms = []
    for i in range(6):
        others = sum(torch.exp(-d[i][c]) for c in range(3) if c != y[i])
        terms.append(-torch.log(torch.exp(-d[i][y[i]]) / others))
    expected, value = mean(terms), loss(x, y)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    for got, want in zip(torch.autograd.grad(value, (x, loss.weight)), torch.autograd.grad(expected, (x, loss.weight))):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_margin_paper_adds_the_boundary_regulariser() -> None:
    """nu sum beta over the triplets' anchors, divided like the rest (Wu et al., section 4)."""
    x = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double())
    y, triplets = torch.tensor([0, 0, 1, 1, 2, 2]), tuple(torch.tensor([[0, 2, 4], [1, 3, 5], [2, 4, 1]]))
    plain = losses.MarginLoss(num_classes=3, variant="paper").double()
    regular = losses.MarginLoss(num_classes=3, nu=0.5, variant="paper").double()
    beta = plain.beta.detach()
    terms = []
    for a, p, n in zip(*triplets):
        terms += [relu((x[a] - x[p]).norm() - beta[y[a]] + 0.2), relu(beta[y[a]] - (x[a] - x[n]).norm() + 0.2)]
    count = sum(bool(t > 0) for t in terms)
    # 1e-8 under the root: d^2 around 1 moves by 1e-8.
    torch.testing.assert_close(plain(x, y, triplets).detach(), sum(terms) / count, rtol=1e-7, atol=1e-8)
    added = (regular(x, y, triplets) - plain(x, y, triplets)).detach()
    torch.testing.assert_close(added, 0.5 * beta.sum() / count, rtol=1e-10, atol=1e-12)


def test_margin_gradient_reaches_the_anchors_class_only() -> None:
    x = torch.nn.functional.normalize(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    loss = losses.MarginLoss(num_classes=5)
    loss(x, torch.tensor([0, 0, 1, 1]), tuple(torch.tensor([[0], [1], [2]]))).backward()
    assert loss.beta.grad[0] != 0 and not loss.beta.grad[1:].any()


def test_margin_count_of_later_torch_versions(reference) -> None:  # type: ignore[no-untyped-def]
    """`count="triplets"` is the released line as torch >= 1.2 reads it: the recorded `loss_today`."""
    import numpy as np

    python, checked = reference / "python", 0
    for path in sorted((python / "MalongTech__research-ms-loss" / "margin_beta_class").glob("*.npz")):
        case, inputs = np.load(path), np.load(python / "inputs" / path.name)
        if "loss_today" not in case:
            continue
        loss = losses.MarginLoss(num_classes=100, count="triplets").double()
        triplets = tuple(torch.tensor(case["triplets"]).long().T)
        value = loss(torch.tensor(inputs["embeddings"]).double(), torch.tensor(inputs["labels"]).long(), triplets)
        assert value.item() == pytest.approx(float(case["loss_today"]), rel=1e-10)
        checked += 1
    assert checked == 10


def test_all_triplets_counts_strict_violations_and_ties() -> None:
    d = torch.tensor([[0.5, 0.25, 0.75, 0.75, 1.0]], dtype=torch.float64, requires_grad=True)
    positive, negative = torch.tensor([[1, 1, 0, 0, 0]]).bool(), torch.tensor([[0, 0, 1, 1, 1]]).bool()
    total, count = all_triplets(d, positive, negative, 0.25)
    # 0.5 + 0.25 - 0.75 is exactly zero twice: no term, no gradient.
    assert total.item() == 0 and count.item() == 0
    total, count = all_triplets(d, positive, negative, 0.5)
    assert total.item() == pytest.approx(0.25 + 0.25) and count.item() == 2
    total.sum().backward()
    assert d.grad.tolist() == [[2, 0, -1, -1, 0]]


@pytest.mark.parametrize(
    ("sizes", "mixes"), [((2, 6), True), ((3, 6), True), ((2, 2, 4), True), ((4, 4), False), ((4, 4, 3, 1), False)]
)
def test_released_reshape_mixes_the_sizes_that_divide(sizes: tuple[int, ...], mixes: bool) -> None:
    y = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    n = len(y)
    matrix = torch.arange(n * n, dtype=torch.float64).view(n, n).requires_grad_()
    negative = y[:, None] != y[None, :]
    positive = ~negative & ~torch.eye(n, dtype=torch.bool)
    rows, new_positive, new_negative = released_rows(matrix, positive, negative)
    if mixes:
        width = int(positive.sum()) // n
        # The obvious reshape of the selected values.
        assert torch.equal(rows[:, :width].flatten(), matrix[positive])
        assert torch.equal(rows[:, width + 1 :].flatten(), matrix[negative])
        assert new_positive.sum() == positive.sum() and new_negative.sum() == negative.sum()
        assert new_positive[:, :width].all() and new_negative[:, width + 1 :].all()
    else:
        assert torch.equal(rows, matrix)
        assert torch.equal(new_positive, positive) and torch.equal(new_negative, negative)
    weight = torch.arange(n * n, dtype=torch.float64).view(n, n).sin()
    (rows * weight).sum().backward()
    total, moved = (rows * weight).sum().item(), (matrix.grad * matrix).sum().item()
    assert math.isclose(moved, total, rel_tol=1e-12)
