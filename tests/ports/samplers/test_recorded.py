"""The structure of batches is the one recorded from the originals."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from helpers.paths import DATA
from helpers.samplers import labels_of

from ports.samplers import (
    ClassBalanced,
    FastRandomIdentity,
    MsRandomIdentity,
)


def facts_of(batches, labels, images):
    """The same questions that were put to the originals."""
    per_label: set[int] = set()
    distinct = set()
    blocks = True
    for b in batches:
        counts = Counter(int(labels[i]) for i in b)
        per_label |= set(counts.values())
        distinct.add(len(counts))
        blocks &= all(len({int(labels[i]) for i in b[s : s + images]}) == 1 for s in range(0, len(b), images))
    return {
        "n_batches": len(batches),
        "batch_sizes": sorted({len(b) for b in batches}),
        "distinct_labels_per_batch": sorted(distinct),
        "per_label_counts": sorted(per_label),
        "contiguous_blocks_of_K": blocks,
    }


def compare(ours, recorded):
    for key, value in ours.items():
        cut_classes = not recorded["contiguous_blocks_of_K"]  # B = 22 with K = 5: which counts appear is up to the draw
        if not (cut_classes and key in ("distinct_labels_per_batch", "per_label_counts")):
            assert value == recorded[key], (key, value, recorded[key])


@pytest.fixture(scope="module")
def facts():
    """Recorded from the originals; see test names for which is which."""
    folder = DATA / "samplers"
    return json.loads((folder / "facts.json").read_text())


def test_ms_structure_equals_the_original(facts):
    seen = 0
    for name, recorded in facts.items():
        if not name.startswith("rb_") or name.split("_")[1] in ("prepare", "rebuild"):
            continue
        batch_size, images = (int(p[1:]) for p in name.split("_")[2:4])
        if isinstance(recorded, str):  # the original crashes: fewer classes than P
            assert recorded.startswith("crash: ValueError")
            with pytest.raises(ValueError, match="fewer than"):
                MsRandomIdentity(labels_of([6, 6, 6]), batch_size=batch_size, images=images, seed=0, strict=False)
            continue
        labels = labels_of(recorded["sizes"])
        sampler = MsRandomIdentity(labels, batch_size=batch_size, images=images, seed=0, strict=False)
        batches = list(islice(sampler, recorded["n_batches"]))
        compare(facts_of(batches, labels, images), recorded)
        assert sampler.groups == recorded["P"] and sampler.batch_size == recorded["batch_sizes"][0]
        if recorded["batches_with_duplicate_indices"] == 0:
            assert all(len(set(b)) == len(b) for b in batches)
        seen += 1
    assert seen == 10


def test_ms_chunks_and_rounds(facts):
    """One round by hand: floor(n/K) chunks of each class, all of them while P classes have some left."""
    recorded = facts["rb_prepare_ragged_K5"]
    labels = labels_of(recorded["sizes"])
    sampler = MsRandomIdentity(labels, batch_size=5, images=5, seed=3)  # P = 1: a round uses every chunk
    chunks = list(sampler._round())
    for label, sizes in recorded["chunks_per_class"].items():
        mine = [c for c in chunks if labels[c[0]] == int(label)]
        assert [len(c) for c in mine] == sizes
        members = set(np.flatnonzero(labels == int(label)).tolist())
        drawn = [i for c in mine for i in c]
        if len(members) < 5:
            assert set(drawn) == members  # every original is kept beside the repeats
        else:
            assert len(set(drawn)) == len(drawn)
    for kind in ("even", "ragged"):
        recorded = facts[f"rb_rebuild_{kind}"]
        low, high = recorded["batches_per_rebuild_min_max"]
        sampler = MsRandomIdentity(labels_of(recorded["sizes"]), batch_size=recorded["B"], images=recorded["K"], seed=0)
        rounds = [len(list(sampler._round())) for _ in range(60)]
        assert min(rounds) >= low and max(rounds) == high <= recorded["upper_bound_total_chunks_div_P"]


def test_deep_metric_structure_equals_the_original(facts):
    seen = 0
    for name, recorded in facts.items():
        if not name.startswith("dm_"):
            continue
        labels = labels_of(recorded["sizes"])
        options = {"batch_size": recorded["B"], "images": recorded["K"], "seed": 0, "strict": False}
        if recorded["n_batches"] == 0:  # the original trains on nothing
            with pytest.raises(ValueError, match=r"fewer than|make no batch"):
                FastRandomIdentity(labels, **options)
            continue
        sampler = FastRandomIdentity(labels, **options)
        assert len(sampler) == recorded["batches_with_drop_last"]
        epoch = list(sampler)
        compare(facts_of(epoch, labels, recorded["K"]), recorded)
        assert sampler.epoch == 0 and len(list(sampler)) == len(sampler) and sampler.epoch == 1
        duplicates = Counter(i for b in epoch for i in b)
        for i, count in duplicates.items():
            assert count == 1 or recorded["sizes"][labels[i]] < recorded["K"]
        seen += 1
    assert seen == 8


def test_deep_metric_cub_numbers():
    sampler = FastRandomIdentity(labels_of([59] * 64 + [58] * 36), batch_size=80, images=5, seed=0)
    assert len(sampler) == 6
    used = {int(i) for b in sampler for i in b}
    assert len(used) == 480


def test_classification_structure_equals_the_original(facts):
    seen = 0
    for name, recorded in facts.items():
        if not name.startswith("cls_"):
            continue
        labels = labels_of(recorded["sizes"])
        ignore = [3] if "ignore3" in name else []
        options = {"batch_size": recorded["B"], "images": recorded["K"], "seed": 0, "strict": False, "ignore": ignore}
        if recorded["n_batches"] == 0:
            with pytest.raises(ValueError, match=r"fewer than|make no batch"):
                ClassBalanced(labels, **options)
            continue
        sampler = ClassBalanced(labels, **options)
        assert len(sampler) == recorded["len"] and sampler.batch_size == recorded["real_batch"]
        batches = list(sampler)
        compare(facts_of(batches, labels, recorded["K"]), recorded)
        assert not ignore or not any(labels[i] == 3 for b in batches for i in b)
        seen += 1
    assert seen == 10


def test_classification_draws_with_replacement_from_large_classes():
    sampler = ClassBalanced(labels_of([30] * 5), batch_size=75, images=25, seed=0)
    assert any(len(set(b)) < 75 for b in islice(sampler, 2))


@pytest.mark.parametrize(
    ("n", "classes", "length"), [(5864, 100, 78), (8054, 98, 107), (59551, 11318, 794), (25882, 3997, 345)]
)
def test_classification_epoch_lengths_of_the_paper(n, classes, length):
    labels = np.arange(n) % classes
    assert len(ClassBalanced(labels, batch_size=75, images=5, seed=0)) == length
