"""Batches of images for training and for feature extraction.

An image is drawn with a random stream keyed by (iteration, position in the batch), so the same batch comes out of 0, 1 or
16 workers. The sampler runs ahead of the training loop by what the workers prefetch; the state that belongs to each batch
travels with it, so that a checkpoint can resume exactly there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from paper_recipes.recipe import Recipe
from ports import determinism, images
from ports.datasets.split import Split
from ports.images.osm import corners
from ports.samplers import Sampler


@dataclass
class Batch:
    images: torch.Tensor  # (N, 3, H, W) float32
    labels: torch.Tensor  # (N,) float32, contiguous class indices from 0 as Caffe's scripts feed them
    sampler_state: dict[str, Any]  # state after this batch was drawn
    indices: list[int]


def make_pipeline(recipe: Recipe) -> images.Pipeline:
    fields = {key: value for key, value in recipe.images.items() if key != "pipeline"}
    return getattr(images, recipe.images["pipeline"])(**fields)


def side(recipe: Recipe) -> int:
    """Height and width in pixels of the images that the network is trained with."""
    if recipe.caffe is not None:
        return int(recipe.caffe.train_net["input_dim"][2])
    pipeline: Any = make_pipeline(recipe)  # those of PyTorch recipes crop
    return int(pipeline.crop)


class _Images(Dataset["torch.Tensor | Exception"]):
    """Pictures of a split. A split that has boxes is cut to them: `prepare` drops those that a recipe does not use.

    Where the split knows its pictures' content, one that has changed since is refused by name.
    """

    def __init__(self, split: Split, pipeline: images.Pipeline) -> None:
        self.files, self.pipeline = split.files(), pipeline
        self.boxes = None if split.boxes is None else corners(split.boxes)
        self.digests = split.digests

    def load(self, index: int, rng: images.Rng | None = None) -> torch.Tensor | Exception:
        """The picture, or what is wrong with it: torch would raise that with a worker's traceback for its text."""
        try:
            return self._load(index, rng)
        except (ValueError, OSError, MemoryError) as error:
            return error

    def _load(self, index: int, rng: images.Rng | None) -> torch.Tensor:
        box = None if self.boxes is None else self.boxes[index].tolist()
        sha256 = None if self.digests is None else self.digests[index].tobytes()
        return torch.from_numpy(images.load(self.files[index], self.pipeline, rng, box=box, sha256=sha256))


class _TrainImages(_Images):
    def __init__(self, split: Split, pipeline: images.Pipeline, seed: int) -> None:
        super().__init__(split, pipeline)
        self.seed = seed

    def __getitem__(self, key: tuple[int, int, int]) -> torch.Tensor | Exception:
        iteration, position, index = key
        rng = determinism.stream(self.seed, "augmentation", iteration, position)
        return self.load(index, rng)


class _TestImages(_Images):
    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor | Exception:
        return self.load(index)


def _together(items: list[torch.Tensor | Exception]) -> torch.Tensor | Exception:
    """The pictures of a batch, or the first error."""
    failed = next((item for item in items if isinstance(item, Exception)), None)
    return default_collate(items) if failed is None else failed


def _sound(loader: DataLoader[torch.Tensor | Exception]) -> Iterator[torch.Tensor]:
    for pixels in loader:
        if isinstance(pixels, Exception):
            raise pixels
        yield pixels


class _Plan:
    """Lists of (iteration, position, index) for a DataLoader, keeping what the loop needs about each batch.

    rank: whose part of the batch the sampler gives; positions are those in the whole batch.
    """

    def __init__(self, sampler: Sampler, first: int, last: int, rank: int) -> None:
        self.sampler, self.first, self.last, self.rank = sampler, first, last, rank
        self.drawn: dict[int, tuple[dict[str, Any], list[int]]] = {}

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for iteration in range(self.first, self.last):
            indices = self.sampler.next_batch()  # iterating ends with the epoch of a sampler that counts them
            self.drawn[iteration] = (self.sampler.state_dict(), list(indices))
            start = self.rank * len(indices)
            yield [(iteration, position, index) for position, index in enumerate(indices, start)]


def _workers(device: torch.device, workers: int | None) -> int:
    """Zero beside a CPU-trained net (its threads use the cores already), else up to eight."""
    if workers is not None:
        return workers
    return 0 if device.type == "cpu" else min(8, torch.get_num_threads())


def _options(device: torch.device, workers: int | None) -> dict[str, Any]:
    count = _workers(device, workers)
    return {
        "num_workers": count,
        "collate_fn": _together,
        "pin_memory": device.type == "cuda",
        **({"prefetch_factor": 4} if count else {}),
    }


def train_batches(
    split: Split,
    sampler: Sampler,
    pipeline: images.Pipeline,
    *,
    seed: int,
    first: int,
    last: int,
    device: torch.device,
    workers: int | None = None,
    rank: int = 0,
) -> Iterator[Batch]:
    """The batches of iterations `first` to `last - 1`, in order. `sampler` must stand where iteration `first` begins.

    rank: of several processes, whose part of each batch `sampler` (a shard) gives.
    """
    plan = _Plan(sampler, first, last, rank)
    dataset = _TrainImages(split, pipeline, seed)
    labels = torch.from_numpy(split.contiguous()).float()
    loader = DataLoader(dataset, batch_sampler=plan, **_options(device, workers))  # type: ignore[arg-type]
    for iteration, pixels in zip(range(first, last), _sound(loader)):
        state, indices = plan.drawn.pop(iteration)
        yield Batch(pixels, labels[indices], state, indices)


def test_batches(
    split: Split, pipeline: images.Pipeline, *, batch_size: int, device: torch.device, workers: int | None = None
) -> Iterator[torch.Tensor]:
    """All images of a split in order, (N, 3, H, W) float32 each."""
    yield from _sound(DataLoader(_TestImages(split, pipeline), batch_size=batch_size, **_options(device, workers)))
