"""What a recipe is: frozen facts of one paper x dataset, nothing that runs.

Everything here is a literal or a plain dict of literals, so a recipe can be printed, compared and fingerprinted without
importing torch. `paper_recipes.runner` executes recipes; recipes know nothing of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

Net = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where the facts come from."""

    paper: str
    repository: str
    commit: str
    folder: str


@dataclass(frozen=True)
class Caffe:
    """Networks and solver of a Caffe release, in the field names of its .prototxt files."""

    dialect: str
    train_net: Net
    test_nets: dict[str, Net]  # first one = the paper's headline protocol
    solver: dict[str, Any]
    embedding_blob: str  # blob of the test nets that holds the features


@dataclass(frozen=True)
class Sampler:
    """Which images make a training batch."""

    rule: str  # a class name of ports.samplers
    classes_per_batch: int
    images_per_class: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        return self.classes_per_batch * self.images_per_class


@dataclass(frozen=True)
class Evaluation:
    """How the paper scores embeddings."""

    protocol: str  # "self": query = gallery = test set without the query itself; "query-gallery"
    ks: tuple[int, ...]
    batch_size: int
    iterations: tuple[int, ...]  # checkpoints that the authors evaluated
    ties: str = "matlab"


@dataclass(frozen=True)
class Expected:
    """One published value that a run is held to. Percent; `tolerance` in points, on both sides."""

    test_net: str
    metric: str
    value: float
    tolerance: float
    provenance: str
    status: str = "stated"  # stated | inferred | ours


@dataclass(frozen=True)
class Embedded:
    """The recipe at the scale of a laptop, on images that need no download. Formulas and code path are unchanged."""

    classes_per_batch: int
    images_per_class: int
    iterations: int
    train_classes: int
    test_classes: int
    evaluate_every: int


@dataclass(frozen=True)
class Recipe:
    name: str
    title: str
    source: Source
    dataset: str  # a module name of ports.datasets
    caffe: Caffe
    sampler: Sampler
    images: dict[str, Any]  # {"pipeline": class name of ports.images, **its fields}
    evaluation: Evaluation
    iterations: int
    snapshot_every: int
    weights: str  # what the authors start from
    cost: str
    expected: tuple[Expected, ...]
    embedded: Embedded
    seed: int = 123
    deviations: tuple[str, ...] = ()  # known differences between this recipe and what the authors ran

    def canonical(self) -> dict[str, Any]:
        """Everything that affects the result, as JSON types."""
        data = dataclasses.asdict(self)
        for prose in ("title", "source", "cost", "expected", "deviations"):
            del data[prose]
        return json.loads(json.dumps(data))

    def fingerprint(self) -> str:
        """sha256 over the canonical JSON; two recipes with the same fingerprint compute the same thing."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
