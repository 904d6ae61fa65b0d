"""What holds for every released loss: symmetries, edge batches, dtypes, torch.compile, arguments."""

from __future__ import annotations

import pytest
import torch
from helpers.loss_batches import clustered, value_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from ports.losses import (
    CaffeContrastiveLoss,
    CaffeContrastiveLossV2,
    CaffeTripletLoss,
    ClassAwareAttention,
    HardestPairLoss,
    OnlineSoftMiningLoss,
    RankedListLoss,
    UnifiedWeightLoss,
    ValidPairLoss,
    WeightedSoftmaxLoss,
)
from ports.losses._attentive_pairs import AttentivePairLoss
from ports.losses._exact_distances import exact_squared_distances
from ports.losses.valid_pair import KINDS

PAIR_LOSSES = {
    "rll-cvpr19": lambda: RankedListLoss(),
    "rll-cvpr19-legacy": lambda: RankedListLoss(legacy_version=True),
    "rll-tpami": lambda: RankedListLoss(release="tpami"),
    "rll-paper": lambda: RankedListLoss(variant="paper"),
    "rll-library": lambda: RankedListLoss(variant="library"),
    "osm": lambda: OnlineSoftMiningLoss(),
    "osm-paper": lambda: OnlineSoftMiningLoss(variant="paper"),
    "hardest": lambda: HardestPairLoss(),
    **{kind: (lambda kind=kind: ValidPairLoss(kind)) for kind in KINDS},
}
every_pair_loss = pytest.mark.parametrize("name", PAIR_LOSSES)


@every_pair_loss
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 17), classes=st.integers(1, 6))
def test_order_and_names_of_labels_do_not_matter(name, seed, n, classes):
    loss = PAIR_LOSSES[name]()
    x, labels = clustered(seed=seed, n=n, classes=classes)
    value, grad = value_and_gradient(loss, x, labels)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    renamed = (7.5 - 2 * labels)[order]  # float labels, other numbers
    value_2, grad_2 = value_and_gradient(loss, x[order], renamed)
    # The same sums in another order: a few ulp of terms of size 1 (values) and of the largest force.
    torch.testing.assert_close(value_2, value, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(grad_2, grad[order], rtol=0, atol=1e-11 * float(grad.abs().max()) + 1e-15)


@every_pair_loss
@pytest.mark.parametrize(
    "case", ["one sample", "none", "no positives", "no negatives", "equal rows", "zero rows", "nothing active"]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_edge_batches_are_finite(name, case, dtype):
    x, labels = clustered(seed=0, dtype=dtype)
    if case == "one sample":
        x, labels = x[:1], labels[:1]
    elif case == "none":
        x, labels = x[:0], labels[:0]
    elif case == "no positives":
        labels = torch.arange(len(x))
    elif case == "no negatives":
        labels = torch.zeros(len(x))
    elif case == "equal rows":
        x = x[:1].expand(len(x), -1)
    elif case == "zero rows":
        x = torch.zeros_like(x)
    elif case == "nothing active":
        x, labels = torch.eye(4, dtype=dtype) * 10, torch.arange(4)
    value, grad = value_and_gradient(PAIR_LOSSES[name](), x, labels)
    assert torch.isfinite(value) and torch.isfinite(grad).all()
    if case in ("one sample", "none", "nothing active"):
        assert value == 0
    if case in ("one sample", "none", "nothing active", "equal rows", "zero rows"):
        assert (grad == 0).all()


def test_huge_distances_do_not_overflow():
    """exp(T * hinge) beyond float64: the release returns NaN, here the farthest positives take all of the weight."""
    x = torch.tensor([[0.0], [1e4], [1e4 + 1], [5.0]], dtype=torch.float64)
    loss = RankedListLoss(T_p=10.0)
    value, grad = value_and_gradient(loss, x, torch.tensor([0, 0, 0, 1]))
    assert torch.isfinite(value) and torch.isfinite(grad).all() and grad[0] < 0 < grad[2]


@every_pair_loss
def test_autocast_and_half_inputs_compute_in_float32(name):
    loss = PAIR_LOSSES[name]()
    x, labels = clustered(seed=1, dtype=torch.float32)
    value, grad = value_and_gradient(loss, x, labels)
    with torch.autocast("cpu", torch.bfloat16):
        value_2, grad_2 = value_and_gradient(loss, x, labels)
    assert torch.equal(value, value_2) and torch.equal(grad, grad_2)
    for half in (torch.float16, torch.bfloat16):
        value, _ = value_and_gradient(loss, x.to(half).float(), labels)
        value_2, grad_2 = value_and_gradient(loss, x.to(half), labels)
        assert value_2.dtype == torch.float32 and torch.equal(value, value_2) and grad_2.dtype == half


@every_pair_loss
def test_compiles_to_one_graph(name):
    torch._dynamo.reset()
    loss = PAIR_LOSSES[name]()
    x, labels = clustered(seed=2)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    expected, got = value_and_gradient(loss, x, labels), value_and_gradient(compiled, x, labels)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-15)


def test_other_losses_compile_to_one_graph():
    x, labels = clustered(seed=2)
    y, weights = x.flip(0), torch.rand(len(x), dtype=x.dtype)
    for loss, arguments in [
        (CaffeContrastiveLoss(), (y, labels % 2)),
        (CaffeContrastiveLossV2(), (y, labels % 2)),
        (CaffeTripletLoss(), (y, y + 1)),
        (UnifiedWeightLoss(), (labels,)),
        (WeightedSoftmaxLoss(), (labels, weights)),
    ]:
        torch._dynamo.reset()
        compiled = torch.compile(loss, backend="eager", fullgraph=True)
        torch.testing.assert_close(value_and_gradient(compiled, x, *arguments), value_and_gradient(loss, x, *arguments))
    compiled = torch.compile(ClassAwareAttention(), backend="eager", fullgraph=True)
    torch.testing.assert_close(tuple(compiled(x, labels)), tuple(ClassAwareAttention()(x, labels)))


def test_true_gradients_pass_gradcheck():
    x, labels = clustered(seed=3)
    y, z = (clustered(seed=seed)[0] for seed in (4, 5))
    weights = torch.rand(len(x), dtype=x.dtype)
    leaf = [t.clone().requires_grad_() for t in (x, y, z)]
    assert torch.autograd.gradcheck(CaffeTripletLoss(0.3), leaf)
    assert torch.autograd.gradcheck(lambda a, b: CaffeContrastiveLoss(legacy_version=True)(a, b, labels % 2), leaf[:2])
    assert torch.autograd.gradcheck(lambda a: WeightedSoftmaxLoss()(a, labels, weights), leaf[:1])
    assert torch.autograd.gradcheck(exact_squared_distances, leaf[:2])
    # The other form of the pair loss: off by its 1e-4, and by no more.
    with pytest.raises(RuntimeError):
        torch.autograd.gradcheck(lambda a: CaffeContrastiveLoss(2.0)(a, y, labels * 0), leaf[:1], rtol=0, atol=1e-7)
    assert torch.autograd.gradcheck(lambda a: CaffeContrastiveLoss(2.0)(a, y, labels * 0), leaf[:1], rtol=1e-3)


@every_pair_loss
def test_arguments_of_pytorch_metric_learning(name):
    loss = PAIR_LOSSES[name]()
    x, labels = clustered(seed=6)
    n = len(x)
    value, grad = value_and_gradient(loss, x, labels)
    same = labels[:, None] == labels
    positive, negative = torch.where(same & ~torch.eye(n, dtype=torch.bool)), torch.where(~same)
    every = (*positive, *negative)
    torch.testing.assert_close(value_and_gradient(loss, x, labels, every), (value, grad), rtol=1e-12, atol=1e-15)
    # The batch as its own memory, without the pairs of a sample with itself.
    y = x.clone().requires_grad_()
    value_2, grad_2 = value_and_gradient(loss, x, labels, every, ref_emb=y, ref_labels=labels)
    torch.testing.assert_close(value_2, value, rtol=1e-12, atol=1e-14)
    released_ranked_list = isinstance(loss, RankedListLoss) and loss.variant == "as_released"
    if released_ranked_list:
        assert y.grad is None, "partners are constants"
        torch.testing.assert_close(grad_2, grad, rtol=1e-10, atol=1e-14)
    else:
        # (i, j) and (j, i) are two pairs now: where unordered ones were counted, the released 1/P halves the gradient.
        unordered = isinstance(loss, AttentivePairLoss) and loss.variant == "as_released" and not loss.ordered
        torch.testing.assert_close((2 if unordered else 1) * (grad_2 + y.grad), grad, rtol=1e-9, atol=1e-14)
    few = (positive[0][:2], positive[1][:2], negative[0][:3], negative[1][:3])
    assert torch.isfinite(value_and_gradient(loss, x, labels, few)[1]).all()
    triplets = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    assert torch.isfinite(value_and_gradient(loss, x, labels, triplets)[0])


@every_pair_loss
def test_an_empty_memory_and_an_empty_miner_give_zero(name):
    loss = PAIR_LOSSES[name]()
    x, labels = clustered(seed=6)
    none = torch.zeros(0, dtype=torch.long)
    for arguments in ({"ref_emb": x[:0], "ref_labels": labels[:0]}, {"indices_tuple": (none,) * 4}):
        value, grad = value_and_gradient(loss, x, labels, **arguments)
        assert value == 0 and (grad == 0).all()


@pytest.mark.parametrize("release", ["cvpr19", "tpami"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_of_anchors_add_up(release, dtype, monkeypatch):
    x, labels = clustered(seed=7, n=50, dtype=dtype)
    loss = RankedListLoss(release=release)
    expected = value_and_gradient(loss, x, labels)
    products = [(0, 7), (7, 8), (8, 50)]
    # Of a product's rows; by its columns, which are fewer where each pair is computed once.
    blocks = {(7, 50): [(0, 7)], (1, 50): [(0, 1)], (42, 50): [(0, 40), (40, 42)]}
    blocks |= {(1, 43): [(0, 1)], (42, 42): [(0, 40), (40, 42)]}
    monkeypatch.setattr("ports.losses._exact_distances._product_rows", lambda *_: products)
    monkeypatch.setattr("ports.losses._exact_distances.row_blocks", lambda rows, columns, *_: blocks[rows, columns])
    tolerance = 1e-13 if dtype == torch.float64 else 1e-6
    same = labels[:, None] == labels
    every = (*torch.where(same & ~torch.eye(50, dtype=torch.bool)), *torch.where(~same))
    for pairs in (None, every):  # a miner's pairs are taken as they are, each end for itself
        torch.testing.assert_close(value_and_gradient(loss, x, labels, pairs), expected, rtol=tolerance, atol=tolerance)


def test_drops_into_the_librarys_memory():
    losses = pytest.importorskip("pytorch_metric_learning.losses")

    class Memory(losses.CrossBatchMemory):
        """Its list of supported losses goes by class names."""

        @staticmethod
        def supported_losses():
            return ["RankedListLoss", "OnlineSoftMiningLoss"]

    for loss in (RankedListLoss(), OnlineSoftMiningLoss()):
        memory = Memory(loss, embedding_size=6, memory_size=24)
        for seed in range(3):
            x, labels = clustered(seed=seed, dtype=torch.float32)
            value, grad = value_and_gradient(memory, x, labels)
            assert torch.isfinite(value) and grad.abs().max() > 0
            if seed == 0:  # the memory holds this batch alone
                torch.testing.assert_close(value, loss(x, labels), rtol=1e-5, atol=0)


@every_pair_loss
def test_wrong_inputs_are_refused(name):
    loss = PAIR_LOSSES[name]()
    x, labels = clustered(seed=0)
    for arguments, error, words in [
        ((x[0], labels), ValueError, r"\(N, D\), got \(6,\)"),
        ((x[..., None], labels), ValueError, r"got \(12, 6, 1\)"),
        ((x, labels[:-1]), ValueError, r"labels \(11,\) with embeddings \(12, 6\)"),
        ((x, labels[:, None]), ValueError, r"labels \(12, 1\)"),
        ((x.long(), labels), TypeError, "torch.int64"),
        ((x, labels > 0), TypeError, "torch.bool"),
        ((x, labels.tolist()), TypeError, "list"),
        ((x, labels, None, x), ValueError, "ref_labels is None"),
        ((x, labels, None, x[:, :2], labels), ValueError, r"\(12, 2\).*\(12, 6\)"),
        ((x, labels, (labels, labels)), ValueError, "got 2 parts"),
    ]:
        with pytest.raises(error, match=words):
            loss(*arguments)


def test_wrong_settings_are_refused():
    for build, words in [
        (lambda: RankedListLoss(release="eccv"), "'eccv'"),
        (lambda: RankedListLoss(variant="folk"), "'folk'"),
        (lambda: RankedListLoss(base=0), "got 0"),
        (lambda: RankedListLoss(balance=0.5), "balance"),
        (lambda: RankedListLoss(negative_threshold=1.2), "tpami"),
        (lambda: ValidPairLoss("V6"), "'V6'"),
        (lambda: OnlineSoftMiningLoss(sigma=0), "sigma"),
        (lambda: OnlineSoftMiningLoss(variant="library"), "'library'"),
        (lambda: ClassAwareAttention(variant="x"), "'x'"),
        (lambda: CaffeContrastiveLossV2(release="x"), "'x'"),
    ]:
        with pytest.raises(ValueError, match=words):
            build()
    x, labels = clustered(seed=0)
    with pytest.raises(ValueError, match=r"attention must have shape \(N,\).*\(3,\)"):
        OnlineSoftMiningLoss()(x, labels, attention=torch.ones(3))
    with pytest.raises(ValueError, match=r"b \(11, 6\)"):
        CaffeContrastiveLoss()(x, x[1:], labels)
    with pytest.raises(ValueError, match=r"weights must be .*shape \(N,\) = \(12,\), got \(11,\)"):
        WeightedSoftmaxLoss()(x, labels % 6, labels[1:])


def test_distances_are_exact_where_the_gram_form_is_not():
    generator = torch.Generator().manual_seed(0)
    x = normalize(torch.randn(40, 64, generator=generator, dtype=torch.float64))
    for gap in (1e-3, 1e-6, 1e-9):
        y = x + gap * torch.randn(40, 64, generator=generator, dtype=torch.float64)
        exact = (x[:, None] - y[None]).square().sum(-1)
        # 2^-70 of D max|x|^2 is the noise that exact_squared_distances promises
        torch.testing.assert_close(exact_squared_distances(x, y), exact, rtol=1e-13, atol=64 * 2.0**-70)
        gram = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
        if gap < 1e-5:
            assert (gram - exact).diagonal().abs().max() > 1e-6 * exact.diagonal().max()
    assert (exact_squared_distances(x).diagonal() == 0).all()
    twin = x[:1].expand(40, -1)
    assert (exact_squared_distances(twin, twin.clone()) == 0).all()


def test_the_same_bits_twice():
    x, labels = clustered(seed=8, n=60, dim=32, dtype=torch.float32)
    for build in PAIR_LOSSES.values():
        first, second = (value_and_gradient(build(), x, labels) for _ in range(2))
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


@pytest.mark.gpu
@every_pair_loss
def test_cuda_equals_cpu(name, cuda, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what determinism asks of cuBLAS
    x, labels = clustered(seed=9, n=60, dim=32)
    expected = value_and_gradient(PAIR_LOSSES[name](), x, labels)
    torch.use_deterministic_algorithms(True)
    try:
        value, grad = value_and_gradient(PAIR_LOSSES[name](), x.to(cuda), labels.to(cuda))
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close((value.cpu(), grad.cpu()), expected, rtol=1e-10, atol=1e-12)
