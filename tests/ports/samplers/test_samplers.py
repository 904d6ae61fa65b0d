"""Samplers: structure recorded from the originals, rules by hand, state, shards, errors."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest
from helpers.paths import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from ports.samplers import (
    ClassBalanced,
    ClassEpochSampler,
    FastRandomIdentity,
    MsRandomIdentity,
    RandomIdentitySampler,
    TrackletSampler,
)
from ports.samplers.base import matlab_choice

RAGGED = [7, 5, 3, 12, 5, 9, 1, 6, 5, 2, 11, 4, 8, 5]


def labels_of(sizes, shuffle=True):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(9).permutation(labels) if shuffle else labels


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


def build(kind, seed=0, labels=None):
    labels = labels_of([7, 5, 8, 12, 5, 9, 6, 6]) if labels is None else labels
    return {
        "rll": lambda: ClassEpochSampler(labels, ids=2, images=3, seed=seed),
        "rll_sop": lambda: ClassEpochSampler(labels, ids=2, images=3, seed=seed, repeat_first_slice=True),
        "osm": lambda: RandomIdentitySampler(labels, ids=4, images=7, seed=seed),
        "tracklet": lambda: TrackletSampler(np.arange(len(labels) * 3).reshape(-1, 3), labels, frames=2, seed=seed),
        "ms": lambda: MsRandomIdentity(labels, batch_size=20, images=5, seed=seed),
        "fast": lambda: FastRandomIdentity(labels, batch_size=10, images=5, seed=seed),
        "balanced": lambda: ClassBalanced(labels, batch_size=10, images=5, seed=seed),
    }[kind]()


KINDS = ["rll", "rll_sop", "osm", "tracklet", "ms", "fast", "balanced"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(before=st.integers(0, 23), seed=st.integers(0, 5))
def test_state_is_exact_anywhere(kind, before, seed):
    sampler = build(kind, seed)
    for _ in range(before):
        sampler.next_batch()
    state = json.loads(json.dumps(sampler.state_dict()))
    expected = [sampler.next_batch() for _ in range(15)]
    resumed = build(kind, seed=99)
    resumed.next_batch()
    resumed.load_state_dict(state)
    assert [resumed.next_batch() for _ in range(15)] == expected
    assert resumed.state_dict() == sampler.state_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_and_plain_ints(kind):
    first, again, other = (list(islice(build(kind, s), 6)) for s in (3, 3, 4))
    assert first == again != other
    assert all(type(i) is int for batch in first for i in batch)
    generator = np.random.Generator(np.random.MT19937(5))  # a bit generator whose state holds arrays
    sampler = build(kind, generator)
    sampler.next_batch()
    state = json.loads(json.dumps(sampler.state_dict()))
    expected = sampler.next_batch()
    resumed = build(kind, np.random.Generator(np.random.MT19937(1)))
    resumed.load_state_dict(state)
    assert resumed.next_batch() == expected


def test_state_of_other_data_is_refused():
    state = build("rll").state_dict()
    with pytest.raises(ValueError, match="sampler is 'ClassEpochSampler'"):
        build("osm").load_state_dict(state)
    with pytest.raises(ValueError, match="data"):
        build("rll", labels=labels_of([7, 5, 8, 12, 5, 9, 7, 5])).load_state_dict(state)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_partition_every_batch(kind):
    whole = list(islice(build(kind), 7 if kind not in ("fast", "balanced") else 4))
    parts = [build(kind).shard(rank, 2) for rank in range(2)]
    for k, batch in enumerate(whole):
        assert parts[0].next_batch() + parts[1].next_batch() == batch, k
    assert parts[0].batch_size * 2 == len(whole[0])
    assert parts[0].state_dict() == parts[1].state_dict()
    if kind in ("fast", "balanced"):
        assert len(parts[0]) == len(build(kind)) == len(list(build(kind).shard(1, 2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sharded_run_goes_on_anywhere_with_another_number_of_processes(kind):
    """Two processes stop in the middle of an epoch, one or two others go on: together still the one process's batches."""
    alone = build(kind)
    whole = [alone.next_batch() for _ in range(9)]
    two = [build(kind).shard(rank, 2) for rank in range(2)]
    for k in range(3):
        assert [i for part in two for i in part.next_batch()] == whole[k]
    state = json.loads(json.dumps(two[1].state_dict()))
    one, again = build(kind, seed=8), [build(kind, seed=9).shard(rank, 2) for rank in range(2)]
    for sampler in (one, *again):
        sampler.load_state_dict(state)
    for batch in whole[3:]:
        assert one.next_batch() == [i for part in again for i in part.next_batch()] == batch


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


# -- options and labels

MORE = {
    "rll": lambda **o: ClassEpochSampler(labels_of(RAGGED), **{"ids": 4, "images": 3, "seed": 0, **o}),
    "osm": lambda **o: RandomIdentitySampler(labels_of(RAGGED), **{"ids": 4, "images": 3, "seed": 0, **o}),
    "ms": lambda **o: MsRandomIdentity(labels_of(RAGGED), **{"batch_size": 12, "images": 3, "seed": 0, **o}),
    "fast": lambda **o: FastRandomIdentity(labels_of(RAGGED), **{"batch_size": 12, "images": 3, "seed": 0, **o}),
    "balanced": lambda **o: ClassBalanced(labels_of(RAGGED), **{"batch_size": 12, "images": 3, "seed": 0, **o}),
}
CHANGED = [
    ("rll", {"repeat_first_slice": True}),
    ("balanced", {"ignore": [3]}),
    ("ms", {"ignore": [3]}),
    ("ms", {"strict": False}),
    ("fast", {"strict": False}),
]


@pytest.mark.parametrize(("kind", "option"), CHANGED, ids=[f"{kind}-{next(iter(o))}" for kind, o in CHANGED])
def test_a_state_of_other_options_is_refused(kind, option):
    """Same data, same batch shape: it was loaded, and the sampler went on by another rule."""
    state = json.loads(json.dumps(MORE[kind]().state_dict()))
    MORE[kind]().load_state_dict(state)
    with pytest.raises(ValueError, match=r"sampler state does not fit: options is \{.*\} there and \{.*\} here"):
        MORE[kind](**option).load_state_dict(state)


def test_a_state_from_before_options_were_written_goes_on():
    sampler = MORE["rll"]()
    sampler.next_batch()
    state = sampler.state_dict()
    del state["options"]
    resumed = MORE["rll"](seed=4)
    resumed.load_state_dict(state)
    assert resumed.next_batch() == sampler.next_batch()


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
