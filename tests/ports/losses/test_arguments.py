"""What every loss does with arguments that it cannot mean, and with labels of every integer type."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from helpers.every_loss import batch, every_loss, every_pair_loss, make, step

from ports import losses


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
