"""A sampler goes on from its state, anywhere and with another number of processes; a state of another one is refused."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
from helpers.samplers import KINDS, MORE, build, labels_of
from hypothesis import given, settings
from hypothesis import strategies as st


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
