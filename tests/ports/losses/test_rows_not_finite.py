"""What every loss does with rows that are no numbers: the loss is NaN and so is every gradient, in all losses alike.

Eight configurations once dropped such rows by a comparison and returned a finite loss with NaN gradients, which a training loop
that looks at its loss does not notice.
"""

from __future__ import annotations

import math

import pytest
import torch
from helpers.every_loss import DIM, PAIRS, batch, every_loss, every_pair_loss, make, step

from ports import losses
from ports.losses._inputs import nan_where_not_finite

NOT_FINITE = pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)


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


def test_the_look_at_rows_keeps_the_losss_type() -> None:
    """Where no value can be looked at (a GPU, a compiled loss; here `meta`), float64 weights made a float32 loss float64."""
    value = torch.zeros((), device="meta")
    rows = torch.zeros(3, dtype=torch.float64, device="meta")
    assert nan_where_not_finite(losses.NCALoss(), value, weights=rows).dtype == torch.float32
