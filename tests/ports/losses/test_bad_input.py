"""What every loss does with rows that are no numbers, and with arguments that it cannot mean.

Rows: the loss is NaN and so is every gradient, in all losses alike. Eight configurations once dropped such rows by a comparison
and returned a finite loss with NaN gradients, which a training loop that looks at its loss does not notice.
"""

from __future__ import annotations

import functools
import inspect
import math
import warnings

import pytest
import torch
from helpers import pair_losses
from helpers.loss_batches import clustered

from ports import losses
from ports.losses._inputs import nan_where_not_finite
from ports.losses.valid_pair import KINDS

CLASSES, DIM = 4, 16
PAIRS = {
    **{
        f"rll-{release}-{legacy}": (
            lambda release=release, legacy=legacy: losses.RankedListLoss(release=release, legacy_version=legacy)
        )
        for release in ("cvpr19", "tpami")
        for legacy in (False, True)
    },
    "rll-paper": lambda: losses.RankedListLoss(variant="paper"),
    "rll-library": lambda: losses.RankedListLoss(variant="library"),
    "osm": lambda: losses.OnlineSoftMiningLoss(),
    "osm-paper": lambda: losses.OnlineSoftMiningLoss(variant="paper"),
    "hardest": lambda: losses.HardestPairLoss(),
    **{f"valid-{kind}": (lambda kind=kind: losses.ValidPairLoss(kind)) for kind in KINDS},
    "ms": lambda: losses.MultiSimilarityLoss(),
    "ms-paper": lambda: losses.MultiSimilarityLoss(variant="paper"),
    "ms-library": lambda: losses.MultiSimilarityLoss(variant="library"),
    "contrastive": lambda: losses.ContrastiveLoss(0.1),
    "contrastive-paper": lambda: losses.ContrastiveLoss(variant="paper"),
    "contrastive-library": lambda: losses.ContrastiveLoss(variant="library"),
    "binomial": lambda: losses.BinomialDevianceLoss(),
    "binomial-mined": lambda: losses.BinomialDevianceLoss(beta=2.0, hard_mining=True),
    "binomial-paper": lambda: losses.BinomialDevianceLoss(variant="paper"),
    "bin-deviance": lambda: losses.BinDevianceLoss(),
    "neighbour-nca": lambda: losses.NeighbourNCALoss(k=5),
    "lifted": lambda: losses.LiftedStructureLoss(),
    "lifted-mined": lambda: losses.LiftedStructureLoss(hard_mining=True),
    "lifted-paper": lambda: losses.LiftedStructureLoss(variant="paper"),
    "nca": lambda: losses.NCALoss(k=5),
    "nca-paper": lambda: losses.NCALoss(variant="paper"),
    "nca-expected": lambda: losses.NCALoss(objective="expected", variant="paper"),
    "semi-hard": lambda: losses.SemiHardLoss(),
    "semi-hard-paper": lambda: losses.SemiHardLoss(variant="paper"),
    "batch-all": lambda: losses.BatchAllLoss(),
    "batch-all-paper": lambda: losses.BatchAllLoss(variant="paper"),
    "batch-all-nonzero": lambda: losses.BatchAllLoss(nonzero=True, variant="paper"),
    "batch-hard": lambda: losses.BatchHardLoss(),
    "batch-hard-soft": lambda: losses.BatchHardLoss(None),
    "hard-mining": lambda: losses.HardMiningLoss(),
    "triplet-hard-mining": lambda: losses.TripletHardMiningLoss(0.1),
    "weight": lambda: losses.WeightLoss(),
    "weight-mined": lambda: losses.WeightLoss(hard_mining=True),
    "xbm-triplet": lambda: losses.XbmTripletLoss(floor=0.1),
}
PAIRS |= pair_losses.not_among(make() for make in PAIRS.values())
OTHERS = {
    "margin": lambda: losses.MarginLoss(),
    "margin-classes": lambda: losses.MarginLoss(num_classes=CLASSES),
    "margin-paper": lambda: losses.MarginLoss(nu=0.1, learn_beta=True, variant="paper"),
    "norm-softmax": lambda: losses.NormSoftmaxLoss(CLASSES, DIM),
    "norm-softmax-paper": lambda: losses.NormSoftmaxLoss(CLASSES, DIM, variant="paper"),
    "proxy-nca": lambda: losses.ProxyNCALoss(CLASSES, DIM),
    "proxy-nca-library": lambda: losses.ProxyNCALoss(CLASSES, DIM, variant="library"),
}
ALL = PAIRS | OTHERS
every_loss = pytest.mark.parametrize("name", ALL)
every_pair_loss = pytest.mark.parametrize("name", PAIRS)
NOT_FINITE = pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)


batch = functools.partial(clustered, torch.arange(12) // 3, dim=DIM, spread=2.0)


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    return ALL[name]().double()


def step(loss: torch.nn.Module, *inputs: torch.Tensor, **options) -> list[torch.Tensor]:
    """Value and gradients of all floating inputs."""
    leaves = [t.detach().clone().requires_grad_() if t.is_floating_point() else t for t in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = loss(*leaves, **options)
    return [value.detach(), *torch.autograd.grad(value, [t for t in leaves if t.is_floating_point()])]


@NOT_FINITE
@every_loss
def test_a_bad_row_makes_loss_and_gradients_nan(name: str, value: float) -> None:
    x, labels = batch()
    assert all(torch.isfinite(t).all() for t in step(make(name), x, labels))
    for rows in ([3], [0, 7, 11]):
        spoiled = x.clone()
        spoiled[rows, 1] = value
        assert all(t.isnan().all() for t in step(make(name), spoiled, labels))


@pytest.mark.filterwarnings("ignore:.*the loss is NaN:RuntimeWarning")
@NOT_FINITE
@pytest.mark.parametrize("name", [name for name in PAIRS if name != "lifted-paper"])
def test_a_bad_row_of_a_memory_counts_as_one_of_the_batch(name: str, value: float) -> None:
    x, labels = batch()
    y, other = batch(seed=5)
    y[4] = value
    got = make(name)(x.requires_grad_(), labels, None, y, other)
    assert got.isnan() and torch.autograd.grad(got, x)[0].isnan().all()


@every_pair_loss
def test_a_bad_row_that_no_pair_names(name: str) -> None:
    """The miner left it out. Its products are 0 x NaN in the gradient of every other row all the same."""
    x, labels = batch()
    x[11] = math.nan
    pairs = tuple(torch.tensor(part) for part in ([0, 3], [1, 4], [0, 3], [3, 0]))
    assert all(t.isnan().all() for t in step(make(name), x, labels, indices_tuple=pairs))


@every_loss
def test_says_how_many_rows(name: str) -> None:
    x, labels = batch()
    x[[9, 2]] = math.inf
    with pytest.warns(
        RuntimeWarning, match=r"Loss: 2 of 12 rows of embeddings are not finite, the first is row 2; the loss is NaN"
    ):
        make(name)(x, labels)


@every_loss
def test_finite_rows_pass_untouched(name: str, monkeypatch) -> None:
    """Loss and gradient are the same to the bit, whether or not the rule is applied, also in the form for devices."""
    module = __import__(type(make(name)).__module__, fromlist=["_"])
    x, labels = batch(dtype=torch.float32)
    x = x * torch.tensor([1e3, 1e-30] * (DIM // 2))  # far apart, far from overflow
    ours = step(make(name).float(), x, labels)
    monkeypatch.setattr("ports.losses._inputs.nan_where_not_finite", lambda loss, value, **rows: value)
    for place in (module, losses_base(make(name))):
        monkeypatch.setattr(place, "nan_where_not_finite", lambda loss, value, **rows: value, raising=False)
    bare = step(make(name).float(), x, labels)
    assert all(torch.equal(a, b) for a, b in zip(ours, bare))


def losses_base(loss: torch.nn.Module):
    from ports.losses import _attentive_pairs, _pair_loss

    return _pair_loss if isinstance(loss, _pair_loss.PairLoss) else _attentive_pairs


@pytest.mark.parametrize("value", [0.0, 3e38, -3e38, 1e-45])
def test_the_form_for_devices_lets_every_finite_number_pass(value: float, monkeypatch) -> None:
    """There nothing may wait for the device: the loss is multiplied by 1, or by NaN. Extremes must not overflow on the way."""
    from ports.losses._inputs import nan_where_not_finite

    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    rows = torch.tensor([[value, -value], [1.0, 2.0]])
    loss = torch.tensor(0.3, requires_grad=True)
    got = nan_where_not_finite(losses.NCALoss(), loss, embeddings=rows)
    assert torch.equal(got, loss) and torch.autograd.grad(got, loss)[0] == 1
    for bad in (math.nan, math.inf, -math.inf):
        got = nan_where_not_finite(losses.NCALoss(), loss, embeddings=torch.tensor([[value, 1.0], [bad, 0.0]]))
        assert got.isnan() and torch.autograd.grad(got, loss)[0].isnan()


CLASSIFIERS = {"weighted-softmax": losses.WeightedSoftmaxLoss(), "unified": losses.UnifiedWeightLoss()}


@pytest.mark.filterwarnings("ignore:.*the loss is NaN:RuntimeWarning")
@NOT_FINITE
def test_losses_of_logits_and_of_lists(value: float) -> None:
    logits, labels = batch()
    for name, loss in CLASSIFIERS.items():
        more = (torch.full((12,), 0.5, dtype=torch.float64),) if name == "weighted-softmax" else ()
        spoiled = logits.clone()
        spoiled[5, 2] = value
        got = loss(spoiled.requires_grad_(), labels, *more)
        assert got.isnan() and torch.autograd.grad(got, spoiled)[0].isnan().all(), name
    a, p, n = (batch(seed=i)[0] for i in range(3))
    p[2, 0] = value
    similar = torch.arange(12) % 2
    for loss in (
        losses.CaffeContrastiveLoss(),
        losses.CaffeContrastiveLossV2(),
        losses.CaffeContrastiveLossV2(release="tpami"),
    ):
        assert step(loss, a, p, similar)[0].isnan()
    assert step(losses.CaffeTripletLoss(), a, p, n)[0].isnan()
    attention = losses.ClassAwareAttention()
    spoiled = logits.clone()
    spoiled[0, 0] = value
    assert attention(spoiled, labels).loss.isnan()


@NOT_FINITE
def test_attention_that_is_not_finite(value: float) -> None:
    x, labels = batch()
    attention = torch.ones(12, dtype=torch.float64)
    attention[4] = value
    got = step(losses.OnlineSoftMiningLoss(), x, labels, attention=attention)
    assert all(t.isnan().all() for t in got)


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


@pytest.mark.parametrize("count", [3, 4])
@every_pair_loss
def test_indices_out_of_range_are_refused(name: str, count: int) -> None:
    """A pair of a row that is not there was once taken for another pair."""
    x, labels = batch()
    good = [torch.tensor([0, 3]), torch.tensor([1, 4]), torch.tensor([0, 3]), torch.tensor([3, 0])]
    good = good if count == 4 else [good[0], good[1], good[3]]
    names = (
        ["anchors", "positives", "anchors of negatives", "negatives"]
        if count == 4
        else ["anchors", "positives", "negatives"]
    )
    make(name)(x, labels, tuple(good))
    for place, part in enumerate(names):
        for bad in (12, -1):
            indices = [*good]
            indices[place] = torch.tensor([0, bad])
            if place == 0 or (count == 4 and place == 2):
                indices[place] = torch.tensor([bad, 0])
            with pytest.raises(ValueError, match=rf"indices_tuple: {part} run from .*, but there are rows 0\.\.11"):
                make(name)(x, labels, tuple(indices))
    if name != "lifted-paper":  # of a memory there are other rows
        make(name)(x, labels, tuple(good), x[:7], labels[:7])
        with pytest.raises(ValueError, match=r"run from .* to 7, but there are rows 0\.\.6"):
            make(name)(x, labels, (good[0], torch.tensor([1, 7]), *good[2:]), x[:7], labels[:7])


def test_triplets_of_the_margin_loss() -> None:
    x, labels = batch()
    good = [torch.tensor([0, 3]), torch.tensor([1, 4]), torch.tensor([3, 0])]
    loss = losses.MarginLoss()
    assert torch.isfinite(loss(x, labels, tuple(good)))
    for place, bad in ((0, 12), (1, -1), (2, 99)):
        indices = [*good]
        indices[place] = torch.tensor([0, bad])
        with pytest.raises(ValueError, match=r"MarginLoss: indices_tuple: \w+ run from .* rows 0\.\.11"):
            loss(x, labels, tuple(indices))
    for indices, message in (
        (good[:2], "got 2 index tensors"),
        (good[0], "got Tensor"),
        (([0], [1], [3]), "anchors must be a torch.Tensor of integers, got list"),
        ((good[0], good[1].float(), good[2]), "positives must be a torch.Tensor of integers, got torch.float32"),
        ((good[0], good[1][:1], good[2]), "have lengths 2, 1, 2"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            loss(x, labels, indices)


@every_loss
def test_what_is_no_tensor_is_named(name: str) -> None:
    x, labels = batch()
    loss = make(name)
    with pytest.raises(TypeError, match=r"embeddings must be a torch.Tensor of shape \(N, D\), got list"):
        loss(x.tolist(), labels)
    with pytest.raises(TypeError, match=r"embeddings must be a torch.Tensor .*, got ndarray"):
        loss(x.numpy(), labels)
    for bad in (labels.tolist(), ["a"] * 12, labels.numpy().astype(str)):
        with pytest.raises(TypeError, match=r"labels must be a torch.Tensor of shape \(N,\), got (list|ndarray)"):
            loss(x, bad)


def test_other_arguments_that_are_no_tensor() -> None:
    x, labels = batch()
    ones = [1.0] * 12
    pair = losses.ContrastiveLoss()
    for call, message in (
        (lambda: losses.OnlineSoftMiningLoss()(x, labels, attention=ones), "attention must be a torch.Tensor"),
        (lambda: pair(x, labels, ref_emb=x.tolist(), ref_labels=labels), "ref_emb must be a torch.Tensor"),
        (lambda: pair(x, labels, ref_emb=x[:5], ref_labels=labels.tolist()), "ref_labels must be a torch.Tensor"),
        (lambda: pair(x, labels, "pairs"), "indices_tuple must be .* got str"),
        (lambda: pair(x, labels, exclude=[[True]]), "exclude must be a bool torch.Tensor .* got list"),
        (lambda: losses.WeightedSoftmaxLoss()(x, labels, ones), "weights must be a torch.Tensor .* got list"),
        (lambda: losses.WeightedSoftmaxLoss()(x.tolist(), labels, ones), "logits must be a torch.Tensor"),
        (lambda: losses.UnifiedWeightLoss()(x.tolist(), labels), "logits must be a torch.Tensor"),
        (lambda: losses.ClassAwareAttention()(x.tolist(), labels), "logits must be a torch.Tensor"),
        (lambda: losses.CaffeContrastiveLoss()(x, x, ones), "similar must be a torch.Tensor .* got list"),
        (lambda: losses.CaffeContrastiveLoss()(x.tolist(), x, labels), "a must be a torch.Tensor"),
        (lambda: losses.CaffeContrastiveLoss()(x, x, labels, (0.5, 1.0)), "scores must be torch.Tensors"),
        (lambda: losses.CaffeTripletLoss()(x.tolist(), x, x), "anchors must be a torch.Tensor"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()


# Every option that is a number, of every loss.
SIGNATURES = {name: inspect.signature(getattr(losses, name)).parameters for name in losses.__all__}
# Numbers that a loss takes: every one but the two of RankedListLoss that only other releases or variants know.
OPTIONS = {
    name: [p.name for p in parameters.values() if ("float" in p.annotation or p.name == "k")]
    for name, parameters in SIGNATURES.items()
}
OPTIONS["RankedListLoss"] = [
    name for name in OPTIONS["RankedListLoss"] if name not in ("negative_threshold", "balance")
]
NEEDED = {
    name: {p.name: {"num_classes": 3, "embedding_dim": 4}[p.name] for p in parameters.values() if p.default is p.empty}
    for name, parameters in SIGNATURES.items()
}


def test_options_that_are_no_finite_number_are_refused() -> None:
    """T_n = inf gave a loss of NaN without a word."""
    assert [name for name in OPTIONS if not OPTIONS[name]] == ["WeightedSoftmaxLoss"]  # it has none
    for name, options in OPTIONS.items():
        for option in options:
            for bad in (math.inf, -math.inf, math.nan, "0.5"):
                with pytest.raises(ValueError, match=rf"{name}: {option} must be a finite number, got {bad!r}"):
                    getattr(losses, name)(**NEEDED[name], **{option: bad})
    for option in ("negative_threshold", "balance"):
        with pytest.raises(ValueError, match=f"{option} must be a finite number"):
            losses.RankedListLoss(release="tpami", variant="paper", **{option: math.nan})


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int16, torch.int32])
@every_loss
def test_labels_of_every_integer_type_give_the_right_number(name: str, dtype: torch.dtype) -> None:
    x, labels = batch()

    def run(labels):
        torch.manual_seed(3)
        return step(make(name), x, labels)

    assert all(torch.equal(a, b) for a, b in zip(run(labels.to(dtype)), run(labels)))


def test_labels_beyond_int64_stay_apart() -> None:
    x, labels = batch()
    names = [2**63, 2**63 + 1, 5, 2**64 - 1]
    far = torch.tensor([names[label] for label in labels.tolist()], dtype=torch.uint64)
    got = losses.MultiSimilarityLoss()(x, far)
    assert torch.equal(got, losses.MultiSimilarityLoss()(x, labels))


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


def test_the_look_at_rows_keeps_the_losss_type() -> None:
    """Where no value can be looked at (a GPU, a compiled loss; here `meta`), float64 weights made a float32 loss float64."""
    value = torch.zeros((), device="meta")
    rows = torch.zeros(3, dtype=torch.float64, device="meta")
    assert nan_where_not_finite(losses.NCALoss(), value, weights=rows).dtype == torch.float32
