"""The PIL pipelines against torchvision's own transforms, fed with the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ports.images import Classification, DeepMetric, MultiSimilarity, Xbm
from ports.images.torchvision_like import random_resized_box


class FakeTorch:
    """torch as torchvision's transforms see it, with its draws taken from a NumPy generator."""

    def __init__(self, torch, rng) -> None:
        self._torch, self._rng = torch, rng

    def __getattr__(self, name):
        return getattr(self._torch, name)

    def empty(self, *_):
        outer = self

        class Drawn:
            def uniform_(self, low, high):
                low, high = float(low), float(high)
                return outer._torch.tensor([low + (high - low) * outer._rng.random()], dtype=outer._torch.float64)

        return Drawn()

    def tensor(self, values, **options):  # log of the aspect limits in double, as in the torchvision of these papers
        return self._torch.tensor(values, dtype=self._torch.float64)

    def randint(self, low, high, size):
        return self._torch.tensor([low + int((high - low) * self._rng.random())])

    def rand(self, n):
        return self._torch.tensor([self._rng.random()])


@pytest.fixture
def transforms(monkeypatch):
    import torch

    from ports.torchvision_compat import torchvision

    module = torchvision.transforms.transforms

    def run(steps, image, seed):
        with monkeypatch.context() as patch:
            patch.setattr(module, "torch", FakeTorch(torch, np.random.default_rng(seed)))
            picture = Image.fromarray(image)
            for step in steps[:-2]:
                picture = step(picture)
        for step in steps[-2:]:  # ToTensor and Normalize draw nothing
            picture = step(picture)
        return picture.numpy()

    return torchvision.transforms, run


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
BGR = ([104 / 255, 117 / 255, 128 / 255], [1 / 255] * 3)


def to_bgr(picture):
    red, green, blue = picture.split()
    return Image.merge("RGB", (blue, green, red))


def steps_of(T, name, train):
    tail = lambda stats: [T.ToTensor(), T.Normalize(*stats)]  # noqa: E731
    if name == "classification":
        middle = [T.RandomCrop(224), T.RandomHorizontalFlip()] if train else [T.CenterCrop(224)]
        return [T.Resize((256, 256)), *middle, *tail(IMAGENET)]
    size, scale, stats = (224, (0.2, 1), IMAGENET) if name == "xbm" else (227, (0.16, 1), BGR)
    middle = [T.RandomResizedCrop(size, scale), T.RandomHorizontalFlip()] if train else [T.CenterCrop(size)]
    head = [] if name == "xbm" else [to_bgr]
    return [*head, T.Resize(256), *middle, *tail(stats)]


PIPELINES = {"ms": MultiSimilarity(), "dm": DeepMetric(), "xbm": Xbm(), "classification": Classification()}
SHAPES = [(400, 500), (500, 333), (256, 300), (300, 256), (70, 600), (41, 33), (1, 1)]


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_torchvision(transforms, name, shape):
    """Exactly equal: the same uint8 pictures, then the same float32 operations in the same order."""
    T, run = transforms
    image = np.random.default_rng(shape[0]).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(PIPELINES[name].test(image), run(steps_of(T, name, False), image, 0))
    for seed in range(3):
        got = PIPELINES[name].train(image, np.random.default_rng(seed))
        assert got.dtype == np.float32 and got.flags["C_CONTIGUOUS"]
        assert np.array_equal(got, run(steps_of(T, name, True), image, seed)), seed


def test_fallback_of_the_random_crop(transforms, monkeypatch):
    """A long thin strip fits no drawn box in ten tries; torchvision then takes the largest centred one it allows."""
    import torch

    T, _ = transforms
    for height, width in [(4, 4000), (4000, 4), (30, 30)]:
        for seed in range(20):
            module = T.transforms
            with monkeypatch.context() as patch:
                patch.setattr(module, "torch", FakeTorch(torch, np.random.default_rng(seed)))
                expected = T.RandomResizedCrop.get_params(Image.new("L", (width, height)), [0.9, 1.0], [3 / 4, 4 / 3])
            got = random_resized_box(height, width, np.random.default_rng(seed), (0.9, 1.0))
            assert got == tuple(expected)


def test_ms_values_are_bgr_minus_mean():
    """x / 255 - mean / 255, over 1/255, is x - mean up to float32 rounding: 3 roundings of values below 256."""
    image = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    got = MultiSimilarity().test(image)
    bgr = image[14:241, 14:241, ::-1].transpose(2, 0, 1).astype(np.float64)
    assert np.abs(got - (bgr - np.array([104, 117, 128])[:, None, None])).max() < 1e-4
