"""Batches of a training: as many as it has iterations, however short an epoch of its sampler is."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny

from paper_recipes.runner.data.batches import train_batches
from ports import images, samplers


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("rule", ["FastRandomIdentity", "ClassBalanced"])
def test_a_training_goes_on_after_an_epoch_of_a_sampler_that_counts_them(tmp_path, rule, workers):
    """Two batches an epoch, of seven. (Deep_Metric's 3,600 steps are 600 epochs of six.)"""
    split = tiny.make_data(tmp_path).train

    def sampler():
        return getattr(samplers, rule)(split.contiguous(), batch_size=8, images=4, seed=5)

    assert len(sampler()) == 2
    given = {"seed": 1, "first": 1, "last": 8, "device": torch.device("cpu"), "workers": workers}
    batches = list(train_batches(split, sampler(), images.DeepMetric(crop=32), **given))
    again = sampler()
    assert [batch.indices for batch in batches] == [again.next_batch() for _ in range(7)]
    # A checkpoint in the third epoch goes on there.
    resumed = sampler()
    resumed.load_state_dict(batches[4].sampler_state)
    assert [resumed.next_batch(), resumed.next_batch()] == [batch.indices for batch in batches[5:]]
