"""What holds for every loss of the Python originals, in every variant."""

from __future__ import annotations

import functools

import pytest
import torch
from helpers import pair_losses
from helpers.loss_batches import ABOVE_ONE, clustered

from ports import losses
from ports.losses._pair_loss import PairLoss

CLASSES, PER_CLASS, DIM = 4, 3, 16
RELEASED = {
    "ms": lambda: losses.MultiSimilarityLoss(),
    "margin": lambda: losses.MarginLoss(num_classes=CLASSES),
    "contrastive": lambda: losses.ContrastiveLoss(0.1),
    "binomial": lambda: losses.BinomialDevianceLoss(alpha=4),
    "binomial_mined": lambda: losses.BinomialDevianceLoss(alpha=4, beta=2, hard_mining=True),
    "lifted": lambda: losses.LiftedStructureLoss(alpha=4),
    "lifted_mined": lambda: losses.LiftedStructureLoss(alpha=4, hard_mining=True),
    "hard_mining": lambda: losses.HardMiningLoss(),
    "triplet_hard_mining": lambda: losses.TripletHardMiningLoss(0.1),
    "nca": lambda: losses.NCALoss(alpha=4, k=5),
    "neighbour_nca": lambda: losses.NeighbourNCALoss(alpha=4, k=5),
    "bin_deviance": lambda: losses.BinDevianceLoss(margin=0.5, slope=4.0),
    "semi_hard": lambda: losses.SemiHardLoss(alpha=4),
    "weight": lambda: losses.WeightLoss(alpha=4),
    "weight_mined": lambda: losses.WeightLoss(alpha=4, hard_mining=True),
    "batch_all": lambda: losses.BatchAllLoss(),
    "xbm_triplet": lambda: losses.XbmTripletLoss(floor=0.1),
    "norm_softmax": lambda: losses.NormSoftmaxLoss(CLASSES, DIM),
}
OTHERS = {
    "ms_paper": lambda: losses.MultiSimilarityLoss(variant="paper"),
    "ms_library": lambda: losses.MultiSimilarityLoss(variant="library"),
    "margin_paper": lambda: losses.MarginLoss(nu=0.1, learn_beta=True, variant="paper"),
    "contrastive_paper": lambda: losses.ContrastiveLoss(1.5, variant="paper"),
    "contrastive_library": lambda: losses.ContrastiveLoss(1.5, variant="library"),
    "binomial_paper": lambda: losses.BinomialDevianceLoss(cost=5, variant="paper"),
    "lifted_paper": lambda: losses.LiftedStructureLoss(variant="paper"),
    "nca_paper": lambda: losses.NCALoss(variant="paper"),
    "nca_expected": lambda: losses.NCALoss(objective="expected", variant="paper"),
    "semi_hard_paper": lambda: losses.SemiHardLoss(margin=0.5, variant="paper"),
    "batch_all_paper": lambda: losses.BatchAllLoss(variant="paper"),
    "batch_all_nonzero": lambda: losses.BatchAllLoss(nonzero=True, variant="paper"),
    "batch_hard": lambda: losses.BatchHardLoss(),
    "batch_hard_soft": lambda: losses.BatchHardLoss(None),
    "norm_softmax_paper": lambda: losses.NormSoftmaxLoss(CLASSES, DIM, variant="paper"),
    "proxy_nca": lambda: losses.ProxyNCALoss(CLASSES, DIM),
    "proxy_nca_library": lambda: losses.ProxyNCALoss(CLASSES, DIM, variant="library"),
}
OTHERS |= pair_losses.not_among(make() for make in (RELEASED | OTHERS).values())
ALL = RELEASED | OTHERS
INDEXED = {"margin", "norm_softmax", "norm_softmax_paper", "proxy_nca", "proxy_nca_library"}  # labels are class indices
every_loss = pytest.mark.parametrize("name", ALL)


batch = functools.partial(
    clustered, torch.arange(CLASSES * PER_CLASS) // PER_CLASS, dim=DIM, spread=2.0, length=ABOVE_ONE
)


def make(name: str, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(11)
    return ALL[name]().to(dtype)


def triplets(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One triplet per sample, a function of the sample's place in its class only."""
    i = torch.arange(len(labels))
    return i, labels * PER_CLASS + (i + 1) % PER_CLASS, (i + PER_CLASS) % len(labels)


def value_and_gradient(
    loss: torch.nn.Module, x: torch.Tensor, labels: torch.Tensor, indices: object = None
) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.detach().clone().requires_grad_()
    if isinstance(loss, losses.MarginLoss) and indices is None:
        indices = triplets(labels)
    value = loss(x, labels, indices)
    (gradient,) = torch.autograd.grad(value, x)
    return value.detach(), gradient


@every_loss
def test_is_a_true_gradient(name: str) -> None:
    x, labels = batch()
    loss, indices = make(name), triplets(labels) if "margin" in name else None
    assert torch.autograd.gradcheck(lambda e: loss(e, labels, indices), x.requires_grad_(), eps=1e-7, atol=1e-6)
    _, gradient = value_and_gradient(loss, x, labels)
    assert gradient.any(), "this batch says nothing about the gradient"


@every_loss
def test_is_permutation_equivariant(name: str) -> None:
    x, labels = batch()
    loss, order = make(name), torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    value, gradient = value_and_gradient(loss, x, labels)
    indices = None
    if "margin" in name:
        place = order.argsort()
        indices = tuple(place[part][order] for part in triplets(labels))
    permuted, permuted_gradient = value_and_gradient(loss, x[order], labels[order], indices)
    torch.testing.assert_close(permuted, value, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(permuted_gradient, gradient[order], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in ALL if name not in INDEXED])
def test_only_equality_of_labels_matters(name: str) -> None:
    x, labels = batch()
    loss, indices = make(name), triplets(labels) if "margin" in name else None
    value, gradient = value_and_gradient(loss, x, labels, indices)
    for renamed in (torch.tensor([70, -3, 12, 5])[labels], torch.tensor([0.5, 2.0, -1.0, 0.25])[labels], labels.int()):
        other, other_gradient = value_and_gradient(loss, x, renamed, indices)
        assert torch.equal(other, value) and torch.equal(other_gradient, gradient)


@every_loss
def test_computes_in_float32_under_autocast_and_for_half_inputs(name: str) -> None:
    x, labels = batch(dtype=torch.float32)
    loss = make(name, torch.float32)
    value, gradient = value_and_gradient(loss, x, labels)
    anchors = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):  # the backward runs outside, as torch asks for
        other = loss(anchors, labels, triplets(labels) if "margin" in name else None)
    (other_gradient,) = torch.autograd.grad(other, anchors)
    assert other.dtype == torch.float32 and torch.equal(other, value) and torch.equal(other_gradient, gradient)
    for half in (torch.float16, torch.bfloat16):
        low, low_gradient = value_and_gradient(loss, x.to(half), labels)
        raised, raised_gradient = value_and_gradient(loss, x.to(half).float(), labels)
        assert low.dtype == torch.float32 and torch.equal(low, raised)
        assert low_gradient.dtype == half and torch.equal(low_gradient, raised_gradient.to(half))


@every_loss
def test_compiles_into_one_graph(name: str) -> None:
    torch._dynamo.reset()
    x, labels = batch()
    loss = make(name)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    indices = triplets(labels) if "margin" in name else None
    inputs = x.clone().requires_grad_()
    value = compiled(inputs, labels, indices)
    value.backward()
    expected, gradient = value_and_gradient(loss, x, labels)
    # Compiled, the pairs' matrix is differentiated whole; eager, a block of anchors at a time, and factors common to all
    # rows (1/N) come last: a few roundings of each pair's weight and of the sums over 12 partners, 2^-53 each.
    torch.testing.assert_close(value.detach(), expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(inputs.grad, gradient, rtol=0, atol=1e-14 * float(gradient.abs().max()))


@every_loss
def test_repeats_bit_for_bit_under_deterministic_algorithms(name: str) -> None:
    x, labels = batch(dtype=torch.float32)
    loss = make(name, torch.float32)
    first = value_and_gradient(loss, x, labels)
    torch.use_deterministic_algorithms(True)
    try:
        again = value_and_gradient(loss, x, labels)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


EDGES = {
    "one sample": [0],
    "one class": [1, 1, 1, 1],
    "all different": [0, 1, 2, 3],
    "a class of one": [0, 0, 1, 1, 2],
    "unequal": [0, 0, 1, 1, 1, 1, 1, 2],
    "empty": [],
}


@every_loss
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("scale", [1.0, 0.0, 50.0], ids=["unit", "zero rows", "long rows"])
def test_edge_batches_are_finite_with_a_gradient(name: str, edge: str, scale: float) -> None:
    labels = torch.tensor(EDGES[edge], dtype=torch.int64)
    g = torch.Generator().manual_seed(4)
    x = scale * torch.nn.functional.normalize(torch.randn(len(labels), DIM, generator=g))
    x.requires_grad_()
    value = make(name, torch.float32)(x, labels)
    assert value.shape == () and torch.isfinite(value)
    value.backward()
    assert torch.isfinite(x.grad).all()
    if edge == "empty":
        assert value == 0


@every_loss
def test_duplicates_are_finite(name: str) -> None:
    x, labels = batch(dtype=torch.float32)
    x[1], x[4] = x[0], x[0]
    value, gradient = value_and_gradient(make(name, torch.float32), x, labels)
    assert torch.isfinite(value) and torch.isfinite(gradient).all()


# An anchor whose part is empty gets nothing from it: these need both kinds of pairs.
@pytest.mark.parametrize("name", ["ms", "ms_paper", "binomial_mined", "lifted_mined", "hard_mining", "weight_mined"])
def test_a_class_of_one_changes_no_other_term(name: str) -> None:
    """Adding a far-away sample of a new class with no positives only rescales the sum over the old anchors."""
    x, labels = batch()
    x = torch.nn.functional.pad(x, (0, 1))
    far = torch.zeros(1, DIM + 1, dtype=x.dtype)
    far[0, -1] = -1.0
    value, _ = value_and_gradient(make(name), x, labels)
    more, gradient = value_and_gradient(make(name), torch.cat([x, far]), torch.cat([labels, torch.tensor([9])]))
    torch.testing.assert_close(more * (len(x) + 1), value * len(x), rtol=1e-12, atol=0)
    assert not gradient[-1].any()


@pytest.mark.parametrize("name", [n for n in ALL if n not in INDEXED and n not in ("margin_paper",)])
def test_index_tuples_of_all_pairs_change_nothing(name: str) -> None:
    loss = make(name)
    x, labels = batch()
    same = labels[:, None] == labels[None, :]
    positive = (same & ~torch.eye(len(x), dtype=torch.bool)).nonzero(as_tuple=True)
    expected, gradient = value_and_gradient(loss, x, labels)
    value, other = value_and_gradient(loss, x, labels, (*positive, *(~same).nonzero(as_tuple=True)))
    assert torch.equal(value, expected) and torch.equal(other, gradient)


@pytest.mark.parametrize("name", [n for n in ALL if n not in INDEXED and n not in ("margin_paper", "lifted_paper")])
def test_partners_may_be_a_memory(name: str) -> None:
    """With exclusion by index, the batch as its own memory is the batch loss, and only the anchors get a gradient."""
    loss = make(name)
    assert isinstance(loss, PairLoss)
    x, labels = batch()
    expected, _ = value_and_gradient(loss, x, labels)
    memory = x.clone().requires_grad_()
    anchors = x.clone().requires_grad_()
    if name == "xbm_triplet":  # it removes the first columns' diagonal by itself
        value = loss(anchors, labels, ref_emb=memory, ref_labels=labels)
    else:
        own = torch.eye(len(x), dtype=torch.bool)
        value = loss(anchors, labels, ref_emb=memory, ref_labels=labels, exclude=own)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)
    total = sum(torch.autograd.grad(value, (anchors, memory)))
    torch.testing.assert_close(total, value_and_gradient(loss, x, labels)[1], rtol=1e-10, atol=1e-13)


@pytest.mark.gpu
@every_loss
def test_cuda_equals_cpu_under_deterministic_algorithms(name: str, cuda: torch.device, monkeypatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what determinism asks of cuBLAS
    x, labels = batch()
    expected = value_and_gradient(make(name), x, labels)
    triplets_there = tuple(part.to(cuda) for part in triplets(labels)) if "margin" in name else None
    loss = make(name).to(cuda)
    torch.use_deterministic_algorithms(True)
    try:
        first, again = (value_and_gradient(loss, x.to(cuda), labels.to(cuda), triplets_there) for _ in range(2))
        if "margin" in name:
            loss(x.to(cuda), labels.to(cuda))  # drawing the triplets itself is deterministic too
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    torch.testing.assert_close((first[0].cpu(), first[1].cpu()), expected, rtol=1e-10, atol=1e-12)


def test_unsupported_arguments_are_refused_by_name() -> None:
    x, labels = batch()
    pairs = (torch.tensor([0]), torch.tensor([1]), torch.tensor([0]), torch.tensor([3]))
    with pytest.raises(ValueError, match="NormSoftmaxLoss does not support indices_tuple"):
        make("norm_softmax")(x, labels, pairs)
    with pytest.raises(ValueError, match="ProxyNCALoss does not support ref_emb, ref_labels"):
        make("proxy_nca")(x, labels, None, x, labels)
    with pytest.raises(ValueError, match="MarginLoss does not support ref_emb"):
        make("margin")(x, labels, None, x, labels)
    with pytest.raises(ValueError, match="got 4 index tensors"):
        make("margin")(x, labels, pairs)
    with pytest.raises(ValueError, match="'paper' does not support ref_emb"):
        make("lifted_paper")(x, labels, None, x.clone(), labels)
    with pytest.raises(ValueError, match=r"exclude must be a bool torch.Tensor \(12, 12\)"):
        make("ms")(x, labels, exclude=torch.ones(3, 3, dtype=torch.bool))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="MultiSimilarityLoss has no variant 'Paper'; choose one of as_released"):
        losses.MultiSimilarityLoss(variant="Paper")
    with pytest.raises(ValueError, match="BatchHardLoss has no variant 'as_released'; choose one of paper"):
        losses.BatchHardLoss(variant="as_released")
    with pytest.raises(ValueError, match="hard_mining needs"):
        losses.BinomialDevianceLoss(hard_mining=True)
    with pytest.raises(ValueError, match=r"nu=0\.5 belongs to variant 'paper'"):
        losses.MarginLoss(nu=0.5)
    with pytest.raises(ValueError, match="objective must be"):
        losses.NCALoss(objective="sum")
    x, labels = batch()
    for name in ("margin", "norm_softmax", "proxy_nca"):
        with pytest.raises(ValueError, match=f"labels run from 0 to {CLASSES}, but num_classes={CLASSES}"):
            make(name)(x, labels + (labels == 3))
        with pytest.raises(ValueError, match=r"labels must be class indices, but one is 0\.5"):
            make(name)(x, labels + 0.5)
