"""Layers of adapters: the gradient that is led back through them is the derivative, and torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import golden
from golden import adapters
from golden.evaluate import evaluate
from golden.sets import Argument

RNG = np.random.RandomState(0)
X = RNG.randn(6, 4)
X[3] = X[1]  # equal rows: the distance's derivative is 0 there
A, B = RNG.randn(6, 4), RNG.randn(6, 6)
ARGUMENTS = [Argument("embeddings", X, True), Argument("labels", np.array([0, 0, 1, 1, 2, 2]))]


def square(weight):
    def numpy_loss(m, labels):
        return (weight * m * m).sum(), 2 * weight * m

    def torch_loss(m, labels):
        return (torch.from_numpy(weight) * m * m).sum()

    numpy_loss.golden_framework, torch_loss.golden_framework = "numpy", "torch"
    return numpy_loss, torch_loss


@pytest.mark.parametrize(
    ("adapter", "weight"), [(adapters.normalised, A), (adapters.pair_matrix, B), (adapters.distance_matrix, B)]
)
def test_numpy_and_torch_agree(adapter, weight):
    ours, theirs = (evaluate(adapter(loss), ARGUMENTS, dtype="float64") for loss in square(weight))
    assert not ours.problem and not theirs.problem
    assert np.isclose(ours.loss, theirs.loss, rtol=1e-13)
    # Sums of 24 terms up to 1e2 in another order.
    np.testing.assert_allclose(ours.gradients[0], theirs.gradients[0], rtol=0, atol=1e-12)


def test_distances_of_pairs_lead_back_to_both():
    """A NumPy loss's gradient by the distances is made one by a and by b; torch's is the derivative."""
    pairs = [Argument("a", X, True), Argument("b", A.copy(), True), Argument("similar", np.array([1, 0, 1, 0, 0, 1]))]
    pairs[1].array[2] = X[2]  # equal rows
    ours, theirs = (evaluate(adapters.pair_distances(loss), pairs, dtype="float64") for loss in square(B[0]))
    assert not ours.problem and not theirs.problem and np.isclose(ours.loss, theirs.loss, rtol=1e-13)
    for mine, other in zip(ours.gradients, theirs.gradients, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    assert (ours.gradients[0] == -ours.gradients[1]).all() and not ours.gradients[0][2].any()


def test_a_value_alone_and_a_dict_pass_through():
    def alone(m, labels):
        return (m**2).sum()

    def whole(m, labels):
        return {"loss": (m**2).sum(), "gradient": 2 * m, "extra": m[:, 0]}

    alone.golden_framework = whole.golden_framework = "numpy"
    outcomes = [evaluate(adapters.pair_matrix(f), ARGUMENTS, dtype="float64") for f in (alone, whole)]
    assert outcomes[0].by_differences and not outcomes[1].by_differences
    np.testing.assert_allclose(outcomes[0].gradients[0], outcomes[1].gradients[0], rtol=1e-6)


def test_a_value_alone_is_checked_by_finite_differences():
    """Of a smooth loss; a hinge at its kink is refused."""

    def binomial(x, y):
        s, same = x @ x.T, y[:, None] == y
        p, n = same & ~np.eye(len(x), dtype=bool), ~same
        pulls = (np.logaddexp(0, -2 * (s - 0.5)) * p).sum(1) / np.maximum(p.sum(1), 1)
        pushes = (np.logaddexp(0, 40 * (s - 0.5)) * n).sum(1) / np.maximum(n.sum(1), 1)
        return (pulls + pushes).mean()

    binomial.golden_framework = "numpy"
    (row,) = golden.check(binomial, "binomial", cases=["g16*"], properties=False, diagnosis=False).rows
    assert row.verdict == "pass" and row.why == "gradient by finite differences of the value, in float64"
    report = golden.check(lambda x, y: 1.1 * binomial(x, y), "binomial", cases=["g16*"], properties=False)
    assert not report.passed and "the right direction, but 1.1" in report.text()

    def contrastive(x, y):
        s, same = x @ x.T, y[:, None] == y
        return (np.where(same & (s < 1), 1 - s, 0).sum() + np.where(~same & (s > 0.5), s, 0).sum()) / len(x)

    contrastive.golden_framework = "numpy"
    (row,) = golden.check(
        contrastive, "contrastive-deep-metric", cases=["s12*"], properties=False, diagnosis=False
    ).rows
    assert row.verdict == "error" and "the value has a kink at this batch; return (value, gradient)" in row.why
