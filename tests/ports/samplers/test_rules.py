"""The rules of the scripts, by hand."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice

import numpy as np
from helpers.samplers import labels_of

from ports.samplers import (
    ClassEpochSampler,
    RandomIdentitySampler,
    TrackletSampler,
)
from ports.samplers.base import matlab_choice


def test_matlab_choice_rule():
    """mod(randperm(3), 2) + 1 is 2, 1, 2 in random order: the second item always comes twice."""
    rng = np.random.default_rng(0)
    draws = [matlab_choice(rng, 2, 3).tolist() for _ in range(50)]
    assert all(sorted(d) == [0, 1, 1] for d in draws) and len({tuple(d) for d in draws}) == 3
    # 1..7 mod 3 = 1 2 0 1 2 0 1, so 0-based item 1 comes three times
    assert all(Counter(matlab_choice(rng, 3, 7).tolist()) == {0: 2, 1: 3, 2: 2} for _ in range(20))
    assert all(Counter(matlab_choice(rng, 1, 3).tolist()) == {0: 3} for _ in range(3))
    assert all(len(set(matlab_choice(rng, 9, 7).tolist())) == 7 for _ in range(20))


def test_rll_epoch_covers_classes_once():
    labels = labels_of([2, 3, 4, 5, 9, 3, 2])  # 7 classes, P = 3: 6 classes an epoch
    sampler = ClassEpochSampler(labels, ids=3, images=3, seed=1, batch_size=9)
    assert sampler.batches_per_epoch == 2
    left_out = set()
    for epoch in range(12):
        used = []
        for _ in range(2):
            batch = sampler.next_batch()
            blocks = [batch[i : i + 3] for i in (0, 3, 6)]
            for block in blocks:
                (label,) = {int(labels[i]) for i in block}
                used.append(label)
                assert len(set(block)) == min(3, int((labels == label).sum()))
        assert sampler.epoch == epoch and len(set(used)) == 6
        left_out |= set(range(7)) - set(used)
    assert len(left_out) > 1


def test_rll_first_slice_is_used_twice_in_the_sop_script():
    labels = labels_of([8] * 9)

    def classes(batch):
        return [int(labels[i]) for i in batch]

    sampler = ClassEpochSampler(labels, ids=3, images=3, seed=4, repeat_first_slice=True)
    batches = list(islice(sampler, 10))
    assert classes(batches[0]) == classes(batches[1]) and batches[0] != batches[1]
    assert sorted(classes(batches[1] + batches[2] + batches[3])) == sorted(list(range(9)) * 3)
    assert sorted(classes(list(chain(*batches[4:7])))) == sorted(list(range(9)) * 3)  # later epochs are whole
    assert sampler.epoch == 2
    plain = ClassEpochSampler(labels, ids=3, images=3, seed=4)
    assert sorted(classes(list(chain(*islice(plain, 3))))) == sorted(list(range(9)) * 3)


def test_osm_draws_identities_afresh():
    labels = labels_of([10, 3] * 6)
    sampler = RandomIdentitySampler(labels, ids=8, images=7, seed=0, batch_size=56)
    seen = []
    for batch in islice(sampler, 30):
        counts = Counter(int(labels[i]) for i in batch)
        assert len(counts) == 8 and set(counts.values()) == {7}
        for s in range(0, 56, 7):
            block = batch[s : s + 7]
            assert len(set(block)) == (7 if labels[block[0]] % 2 == 0 else 3)
        seen.append(frozenset(counts))
    assert len(set(seen)) > 20


def test_tracklets():
    tracklets = [list(range(i * 100, i * 100 + n)) for i, n in enumerate([20, 4, 9, 30, 1, 12, 15])]
    ids = [5, 5, 6, 6, 7, 8, 8]
    sampler = TrackletSampler(tracklets, ids, per_batch=6, frames=9, seed=0, batch_size=54)
    same = 0
    for batch in islice(sampler, 200):
        rows = [batch[s : s + 9] for s in range(0, 54, 9)]
        owner = [r[0] // 100 for r in rows]
        assert all({f // 100 for f in r} == {t} for r, t in zip(rows, owner))
        who = [ids[t] for t in owner]
        assert who[:3] == who[3:] and len(set(who)) == 3
        for r, t in zip(rows, owner):
            assert len(set(r)) == min(9, len(tracklets[t])) and set(r) <= set(tracklets[t])
        same += sum(a == b for a, b in zip(owner[:3], owner[3:]))
    assert 0 < same < 600
