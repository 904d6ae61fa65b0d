"""A second derivative is refused or right."""

from __future__ import annotations

import pytest
import torch
from helpers.every_loss import batch, every_loss, make

from ports import losses


@every_loss
def test_a_second_derivative_is_refused_or_right(name: str) -> None:
    """Forces that are constants to autograd gave zeros or a part of the truth."""
    x, labels = batch()
    loss = make(name)
    torch.manual_seed(0)
    value = loss(x.requires_grad_(), labels)
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    direction = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
    if name.startswith(("norm-softmax", "proxy-nca")):  # plain torch, twice differentiable
        (second,) = torch.autograd.grad((gradient * direction).sum(), x)
        ahead, behind = (
            torch.autograd.grad(loss(z, labels), z)[0]
            for z in ((x.detach() + s * 1e-5 * direction).requires_grad_() for s in (1, -1))
        )
        # Central differences: h^2 of a third derivative.
        torch.testing.assert_close(second, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5 * float(second.abs().max()))
        return
    with pytest.raises(RuntimeError, match="this loss has no second derivative"):
        torch.autograd.grad((gradient * direction).sum(), x)


def test_second_derivatives_of_losses_of_logits_and_lists() -> None:
    logits, labels = batch()
    a, p, n = (batch(seed=i)[0] for i in range(3))
    similar, weights = torch.arange(12) % 2, torch.full((12,), 0.5, dtype=torch.float64)

    def second(loss, x, *others):
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x * x, *others), x, create_graph=True)  # a network above the loss
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    for loss, *arguments in (
        (losses.WeightedSoftmaxLoss(), logits, labels, weights),
        (losses.UnifiedWeightLoss(), logits, labels),
        (losses.CaffeContrastiveLoss(), a, p, similar),
        (losses.CaffeContrastiveLossV2(), a, p, similar),
    ):
        with pytest.raises(RuntimeError, match="this loss has no second derivative"):
            second(loss, *arguments)
    assert second(losses.CaffeTripletLoss(), a, p, n).any()  # plain torch
    assert torch.autograd.gradgradcheck(losses.CaffeTripletLoss(), (a.requires_grad_(), p, n))
