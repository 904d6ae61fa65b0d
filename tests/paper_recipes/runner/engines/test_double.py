"""`--double`: the same start and images in float64, through both engines."""

from __future__ import annotations

import pytest
import torch
from helpers import replica_steps as steps
from helpers import tiny

from paper_recipes.runner.engines.caffe_engine import CaffeEngine
from paper_recipes.runner.engines.torch_engine import TorchEngine


def engine(case, dtype):
    if case == "caffe-net":
        return CaffeEngine(tiny.recipe().the_caffe(), device=steps.CPU, seed=1, dtype=dtype)
    return TorchEngine(steps.TORCH[case], classes=steps.CLASSES, device=steps.CPU, seed=1, dtype=dtype)


def floating(tensors):
    return {name: value for name, value in tensors.items() if value.is_floating_point()}


@pytest.mark.parametrize("case", ["caffe-net", *steps.TORCH])
def test_everything_is_float64_and_begins_as_the_float32_run_does(case):
    single, double = engine(case, torch.float32), engine(case, torch.float64)
    before = floating(single.tensors())
    for name, value in floating(double.tensors()).items():
        assert value.dtype == torch.float64 and torch.equal(value, before[name].double()), name
    images, labels = steps.data(case, 0, slice(None))
    images = images.float()  # as the pipelines give them
    losses = []
    for made in (single, double):
        torch.manual_seed(0)  # dropout
        losses.append(made.step(images, labels))
    for name, value in losses[0].items():
        # The rounding of float32 through two layers and a loss; a step of another batch differs in the first digits.
        assert losses[1][name] == pytest.approx(value, rel=1e-3, abs=1e-6)
    after = floating(double.tensors())
    # Adam counts its steps in float32, and the counter is no part of what is computed.
    assert all(value.dtype == torch.float64 for name, value in after.items() if not name.endswith("/step"))
    double.begin_embedding()
    assert all(values.dtype == torch.float64 for values in double.embed(images).values())
