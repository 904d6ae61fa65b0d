"""What autograd saves, in a file: the same bits come back, in the same layout, and memory falls."""

from __future__ import annotations

import tempfile

import pytest
import torch
from torch import nn

from paper_recipes.runner.evidence.spill import to_disk


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 30 * 30, 5)).double()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_the_same_bits(layout):
    torch.manual_seed(1)
    images = torch.rand(4, 3, 64, 64, dtype=torch.float64)
    gradients = []
    for spilled in (False, True):
        made = net().to(memory_format=layout)
        x = images.to(memory_format=layout).requires_grad_()
        if spilled:
            with to_disk(made):
                made(x).square().sum().backward()
        else:
            made(x).square().sum().backward()
        gradients.append([x.grad, *(p.grad for p in made.parameters())])
    assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(*gradients))


def test_blobs_of_a_megabyte_are_in_the_file_and_smaller_ones_are_not(monkeypatch):
    files = []
    real = tempfile.TemporaryFile

    def kept(*args, **options):
        files.append(real(*args, **options))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", kept)
    large, small = torch.rand(1 << 17, dtype=torch.float64).requires_grad_(), torch.rand(9).requires_grad_()
    with to_disk(nn.Identity()):
        top = large.exp()  # saves its result
        rest = small.exp()
        assert files[0].seek(0, 2) == 1 << 20
        top.sum().backward()
        rest.sum().backward()
    assert torch.equal(large.grad, large.detach().exp()) and torch.equal(small.grad, small.detach().exp())


def test_a_full_disk_costs_memory_and_nothing_else(monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def seek(self, *_):
            return 0

        def write(self, *_):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    x = torch.rand(1 << 17, dtype=torch.float64).requires_grad_()
    with to_disk(nn.Identity()):
        x.exp().sum().backward()
    assert torch.equal(x.grad, x.detach().exp())
