"""On a GPU: thirty steps of RLL on SOP at the paper's batch, twice and resumed, are equal to the bit."""

from __future__ import annotations

import pytest
import torch

from paper_recipes import registry
from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from ports import determinism

STEPS = 30


def steps(engine: CaffeEngine, first: int, last: int) -> list[dict[str, float]]:
    losses = []
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        images = 60 * torch.randn(180, 3, 227, 227, generator=generator)
        losses.append(engine.step(images, torch.arange(60.0).repeat_interleave(3)))
    return losses


def copied(engine: CaffeEngine) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in engine.tensors().items()}


@pytest.mark.gpu
@pytest.mark.slow
def test_thirty_full_batches_are_the_same_to_the_bit(cuda):
    determinism.configure(1)
    caffe = registry.get("rll-sop").the_caffe()
    whole = CaffeEngine(caffe, device=cuda, seed=1)
    losses = steps(whole, 0, STEPS // 2)
    saved = copied(whole)
    losses += steps(whole, STEPS // 2, STEPS)
    expected = copied(whole)
    del whole
    again = CaffeEngine(caffe, device=cuda, seed=1)
    assert steps(again, 0, STEPS // 2) == losses[: STEPS // 2]
    assert all(torch.equal(value, saved[name]) for name, value in copied(again).items())
    resumed = CaffeEngine(caffe, device=cuda, seed=2)
    resumed.load_tensors(saved, STEPS // 2)
    assert steps(resumed, STEPS // 2, STEPS) == losses[STEPS // 2 :]
    assert all(torch.equal(value, expected[name]) for name, value in copied(resumed).items())
