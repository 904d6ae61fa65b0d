"""Batches of a training: as many as it has iterations, however short an epoch of its sampler is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import tiny_run

from paper_recipes.runner.data.batches import train_batches
from ports import images, samplers
from ports.datasets.split import Split


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    root = tiny_run.make_pictures(tmp_path_factory.mktemp("pictures"), classes=6, count=4)
    files = sorted(root.glob("*/*.png"))
    labels = torch.tensor([int(path.parent.name[-1]) for path in files]).numpy()
    return Split([str(path.relative_to(root)) for path in files], labels, root=Path(root))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("rule", ["FastRandomIdentity", "ClassBalanced"])
def test_a_training_goes_on_after_an_epoch_of_a_sampler_that_counts_them(split, rule, workers):
    """Six classes in batches of two: three batches an epoch, of seven. (Deep_Metric's 3,600 steps are 600 epochs of six.)"""

    def sampler():
        return getattr(samplers, rule)(split.contiguous(), batch_size=8, images=4, seed=5)

    assert len(sampler()) == 3
    pipeline = images.DeepMetric(crop=32)
    batches = list(
        train_batches(split, sampler(), pipeline, seed=1, first=1, last=8, device=torch.device("cpu"), workers=workers)
    )
    again = sampler()
    assert [batch.indices for batch in batches] == [again.next_batch() for _ in range(7)]
    # A checkpoint in the second epoch goes on there.
    resumed = sampler()
    resumed.load_state_dict(batches[4].sampler_state)
    assert [resumed.next_batch(), resumed.next_batch()] == [batch.indices for batch in batches[5:]]
