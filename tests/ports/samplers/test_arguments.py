"""Labels of any type, and errors that name the numbers."""

from __future__ import annotations

import json

import pytest
from helpers.samplers import MORE, RAGGED, build, labels_of

from ports.samplers import (
    ClassBalanced,
    ClassEpochSampler,
    FastRandomIdentity,
    MsRandomIdentity,
    RandomIdentitySampler,
    TrackletSampler,
)


@pytest.mark.parametrize("kind", MORE)
@pytest.mark.parametrize("form", ["str", "uint16", "uint32", "uint64", "fractions", "list", "tensor"])
def test_labels_of_any_type_give_the_same_batches(kind, form):
    """The order of the distinct labels is all that counts."""
    import torch

    labels = labels_of(RAGGED)
    given = {
        "str": [f"class {label:02}" for label in labels],
        "fractions": labels / 7,
        "list": labels.tolist(),
        "tensor": torch.from_numpy(labels),
    }.get(form)
    given = labels.astype(form) if given is None else given
    rule = type(MORE[kind]())
    options = {"ids": 4} if kind in ("rll", "osm") else {"batch_size": 12}
    ours, plain = rule(given, images=3, seed=1, **options), rule(labels, images=3, seed=1, **options)
    assert [ours.next_batch() for _ in range(5)] == [plain.next_batch() for _ in range(5)]
    resumed = rule(given, images=3, seed=2, **options)
    resumed.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    assert resumed.next_batch() == plain.next_batch()


def test_tracklets_of_named_persons():
    tracklets = [[0, 1], [2, 3], [4, 5], [6, 7]]
    named = TrackletSampler(tracklets, ["b", "a", "b", "a"], per_batch=4, frames=2, seed=0)
    plain = TrackletSampler(tracklets, [1, 0, 1, 0], per_batch=4, frames=2, seed=0)
    assert named.next_batch() == plain.next_batch() and named.state_dict() == plain.state_dict()


def test_errors_name_the_numbers():
    labels = labels_of(RAGGED)
    for make in (ClassEpochSampler, RandomIdentitySampler):
        with pytest.raises(ValueError, match="batch size 60 is not identities x images = 4 x 3 = 12"):
            make(labels, ids=4, images=3, seed=0, batch_size=60)
        with pytest.raises(ValueError, match="14 classes are fewer than the 15"):
            make(labels, ids=15, images=3, seed=0)
        with pytest.raises(ValueError, match="non-empty"):
            make([], ids=1, images=3, seed=0)
    for make in (MsRandomIdentity, FastRandomIdentity, ClassBalanced):
        with pytest.raises(ValueError, match="batch size 22 is not identities x images = 4 x 5 = 20"):
            make(labels, batch_size=22, images=5, seed=0)
        with pytest.raises(ValueError, match="no batch"):
            make(labels, batch_size=4, images=0, seed=0)
    with pytest.raises(ValueError, match=r"tracklet 1 .*has no frames"):
        TrackletSampler([[1], []], [1, 2], per_batch=2, seed=0)
    with pytest.raises(ValueError, match="even"):
        TrackletSampler([[1], [2]], [1, 2], per_batch=3, seed=0)
    with pytest.raises(ValueError, match="do not divide among 3"):
        build("rll").shard(0, 3)
    with pytest.raises(ValueError, match="rank 2"):
        build("rll").shard(2, 2)


@pytest.mark.parametrize("kind", MORE)
@pytest.mark.parametrize("bad", [float("inf"), float("nan"), 3.5, "3"])
def test_counts_that_are_no_whole_number(kind, bad):
    with pytest.raises(ValueError, match="must be a whole number, got"):
        MORE[kind](images=bad)
    with pytest.raises(ValueError, match="must be a whole number, got"):
        MORE[kind](**{"ids" if kind in ("rll", "osm") else "batch_size": bad})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_labels_that_are_no_number(bad):
    labels = labels_of(RAGGED).astype(float)
    labels[5] = bad
    with pytest.raises(ValueError, match="labels must be finite, but that of image 5 is not"):
        ClassEpochSampler(labels, ids=4, images=3, seed=0)
