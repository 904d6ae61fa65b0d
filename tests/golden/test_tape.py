"""Derivatives of golden's NumPy arrays against torch's, operation by operation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.tape import Var, detach, gradients, log_sum_exp, normalize, safe_root, softplus, where

MASK = np.array([[True, False, True], [False, True, True], [True, True, False], [True, True, True]])
T = torch.from_numpy(MASK)
ROWS = np.array([0, 2, 2, 1])

# name -> (of our arrays, of torch's); a (4, 3), b (4, 3), c (3,)
CASES = {
    "sum": (lambda a, b, c: (a + b - c + 2.0).sum(), lambda a, b, c: (a + b - c + 2.0).sum()),
    "difference": (lambda a, b, c: (1 - a * b).sum(0).square().sum(), lambda a, b, c: (1 - a * b).sum(0).square().sum()),
    "quotient": (lambda a, b, c: (a / (b.square() + 1) + 2 / (c.exp())).sum(), lambda a, b, c: (a / (b.square() + 1) + 2 / c.exp()).sum()),
    "matrix product": (lambda a, b, c: (a @ b.T).square().sum(), lambda a, b, c: (a @ b.T).square().sum()),
    "functions": (
        lambda a, b, c: (a.square() + 1).log().sum() + (b.exp() + 1).sqrt().mean() - (-c).clamp(0).sum(),
        lambda a, b, c: (a.square() + 1).log().sum() + (b.exp() + 1).sqrt().mean() - (-c).clamp(min=0).sum(),
    ),
    "choice": (
        lambda a, b, c: (where(MASK, a, b * c) * where(MASK, 2.0, a)).sum(),
        lambda a, b, c: (torch.where(T, a, b * c) * torch.where(T, 2.0, a)).sum(),
    ),
    "indexing": (lambda a, b, c: (a[ROWS] * b).sum() + c[ROWS - 1].square().sum(), lambda a, b, c: (a[ROWS] * b).sum() + c[ROWS - 1].square().sum()),
    "reshaping": (
        lambda a, b, c: (a.reshape(4, 1, 3) - b.reshape(1, 4, 3)).square().sum(-1).sqrt().sum(),
        lambda a, b, c: (a[:, None] - b[None]).square().sum(-1).sqrt().sum(),
    ),
    "means": (lambda a, b, c: (a.mean(1) * b.mean()).sum() + c.mean(), lambda a, b, c: (a.mean(1) * b.mean()).sum() + c.mean()),
    "kept dimensions": (
        lambda a, b, c: (a / b.square().sum(1, keepdims=True)).sum(), lambda a, b, c: (a / b.square().sum(1, keepdim=True)).sum(),
    ),
    "normalize": (lambda a, b, c: (normalize(a) * b).sum(), lambda a, b, c: (torch.nn.functional.normalize(a) * b).sum()),
    "log_sum_exp": (
        lambda a, b, c: (log_sum_exp(a * 30, MASK) * b.sum(1)).sum(),
        lambda a, b, c: ((a * 30).masked_fill(~T, -torch.inf).logsumexp(1) * b.sum(1)).sum(),
    ),
    "softplus": (lambda a, b, c: (softplus(a * 40) * b).sum(), lambda a, b, c: (torch.logaddexp(a * 40, a * 0) * b).sum()),
    "detached": (lambda a, b, c: (a * detach(a * b)).sum(), lambda a, b, c: (a * (a * b).detach()).sum()),
    "one used twice": (lambda a, b, c: ((d := a * b) * d + d).sum(), lambda a, b, c: ((d := a * b) * d + d).sum()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operation_and_its_derivative(name):
    rng = np.random.RandomState(0)
    arrays = [rng.randn(4, 3), rng.randn(4, 3), rng.randn(3)]
    ours, theirs = CASES[name]
    leaves = [Var(a) for a in arrays]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    got, want = ours(*leaves), theirs(*tensors)
    np.testing.assert_allclose(detach(got), want.detach().numpy(), rtol=1e-13)
    expected = torch.autograd.grad(want, tensors, allow_unused=True)
    for gradient, reference in zip(gradients(got, leaves), expected):
        # The same sums in another order: a few 1e-16 of terms up to 1e2.
        np.testing.assert_allclose(gradient, 0.0 if reference is None else reference.numpy(), rtol=1e-12, atol=1e-13)


def test_the_root_of_zero_has_no_gradient():
    leaf = Var(np.array([0.0, 4.0]))
    assert gradients(safe_root(leaf).sum(), [leaf])[0].tolist() == [0.0, 0.25]


def test_a_constant_has_zero_gradients():
    leaf = Var(np.ones(3))
    assert gradients(np.float64(2.0), [leaf])[0].tolist() == [0, 0, 0]
    assert gradients((leaf * 0).sum(), [leaf])[0].tolist() == [0, 0, 0]


def test_comparisons_are_plain_arrays():
    leaf = Var(np.array([1.0, 2.0]))
    assert [(leaf > 1).tolist(), (leaf < 2).tolist(), (leaf >= 2).tolist()] == [
        [False, True],
        [True, False],
        [False, True],
    ]
