"""Blocks of anchors: every pair loss in many blocks is what it is in one matrix under plain autograd."""

from __future__ import annotations

import functools

import pytest
import torch
from helpers import pair_losses
from helpers.loss_batches import ABOVE_ONE, clustered

from ports import losses
from ports.losses import _blocks

BLOCKED = {
    "ms": losses.MultiSimilarityLoss(),
    "ms_library": losses.MultiSimilarityLoss(variant="library"),
    "contrastive": losses.ContrastiveLoss(0.1),
    "contrastive_paper": losses.ContrastiveLoss(variant="paper"),
    "contrastive_library": losses.ContrastiveLoss(variant="library"),
    "binomial": losses.BinomialDevianceLoss(),
    "binomial_paper": losses.BinomialDevianceLoss(variant="paper"),
    "lifted": losses.LiftedStructureLoss(),
    "lifted_paper": losses.LiftedStructureLoss(variant="paper"),
    "nca": losses.NCALoss(),
    "neighbour_nca": losses.NeighbourNCALoss(),
    "bin_deviance": losses.BinDevianceLoss(),
    "nca_paper": losses.NCALoss(variant="paper"),
    "semi_hard": losses.SemiHardLoss(),
    "semi_hard_paper": losses.SemiHardLoss(variant="paper"),
    "batch_all": losses.BatchAllLoss(),
    "batch_all_nonzero": losses.BatchAllLoss(nonzero=True, variant="paper"),
    "batch_hard": losses.BatchHardLoss(),
    "hard_mining": losses.HardMiningLoss(),
    "triplet_hard_mining": losses.TripletHardMiningLoss(0.1),
    "weight": losses.WeightLoss(),
    "xbm_triplet": losses.XbmTripletLoss(floor=0.1),
    "rll_paper": losses.RankedListLoss(variant="paper"),
    "rll_library": losses.RankedListLoss(variant="library"),
}
BLOCKED |= {name: make() for name, make in pair_losses.not_among(BLOCKED.values()).items()}


batch = functools.partial(clustered, n=150, classes=20, dim=8, length=ABOVE_ONE)


def step(loss: torch.nn.Module, memory: bool) -> list[torch.Tensor]:
    x, labels = batch()
    leaves = [x.requires_grad_()]
    if memory:
        partners, partner_labels = batch(n=170, seed=1)
        leaves.append(partners.requires_grad_())
        value = loss(x, labels, None, partners, partner_labels)
    else:
        value = loss(x, labels)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


whole_blocks = _blocks.row_blocks
FORMS = [(name, False) for name in BLOCKED] + [(name, True) for name in BLOCKED if name != "lifted_paper"]


@pytest.mark.parametrize(("name", "memory"), FORMS, ids=[name + memory * "-memory" for name, memory in FORMS])
def test_blocks_equal_one_matrix(name: str, memory: bool, monkeypatch) -> None:
    loss = BLOCKED[name]
    blocks = []

    def counted(rows: int, columns: int, device: torch.device, pairs: int = 0):
        parts = list(whole_blocks(rows, columns, device, 1))  # as small as they come: 32 rows
        blocks.append(len(parts))
        return parts

    monkeypatch.setattr(_blocks, "row_blocks", counted)
    ours = step(loss, memory)
    assert min(blocks) == 5
    with monkeypatch.context() as patch:  # what torch.compile traces: the same terms, whole
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        whole = step(loss, memory)
    assert whole[1].any()
    for got, expected in zip(ours, whole):
        # The order of a few hundred additions: 2^-53 each, of the largest entry.
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-13 * float(expected.abs().max()))


def test_blocks_that_forget_their_place_are_caught(monkeypatch) -> None:
    """A mutation: the derivative of every block written to the first rows."""
    monkeypatch.setattr(_blocks, "row_blocks", lambda *_: [(0, 32), (0, 32), (32, 150)])
    wrong = step(BLOCKED["ms"], False)
    monkeypatch.undo()
    right = step(BLOCKED["ms"], False)
    assert (wrong[1] - right[1]).abs().max() > 1e-3 * right[1].abs().max() or (wrong[0] - right[0]).abs() > 1e-3


@pytest.mark.parametrize("name", BLOCKED)
def test_without_gradient_it_gives_the_value_alone(name: str) -> None:
    x, labels = batch()
    with torch.no_grad():
        value = BLOCKED[name](x.requires_grad_(), labels)
    assert not value.requires_grad
    expected = BLOCKED[name](x, labels)
    assert expected.requires_grad and torch.equal(value, expected.detach())
    constant = BLOCKED[name](x.detach(), labels)
    assert not constant.requires_grad and torch.equal(value, constant)


def test_backward_twice_through_one_graph_and_two_losses_of_one_batch() -> None:
    """The matrix that is overwritten belongs to one call."""
    x, labels = batch()
    x.requires_grad_()
    ms, nca = BLOCKED["ms"], BLOCKED["nca"]
    value = ms(x, labels) + nca(x, labels)
    first = torch.autograd.grad(value, x, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(value, x)[0])
    apart = sum(torch.autograd.grad(loss(x, labels), x)[0] for loss in (ms, nca))
    torch.testing.assert_close(first, apart, rtol=0, atol=1e-14)
