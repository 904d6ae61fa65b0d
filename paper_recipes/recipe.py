"""What a recipe is: frozen facts of one paper x dataset, nothing that runs.

Everything here is a literal or a plain dict of literals, so a recipe can be printed, compared and fingerprinted without
importing torch. `paper_recipes.runner` executes recipes; recipes know nothing of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from paper_recipes.records import Records

Net = dict[str, Any]
# Fields that came after the first fingerprints: absent from the canonical JSON while they have their default.
_ABSENT_AT_DEFAULT = {"later": True}
# Training images a second on one V100 (32 GB) in float32. ResNet-50: as NVIDIA publishes it for PyTorch. BN-Inception: taken
# at 0.7 of ResNet-50's operations per second, since its many small layers use a GPU less well; it has half the operations.
_V100_RESNET50 = 356
_V100_BN_INCEPTION = 500


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
    # outputs of the training net's classifiers: no more training classes than that; None: it has no classifier
    classes: int | None = field(default=None, metadata=_ABSENT_AT_DEFAULT)


@dataclass(frozen=True)
class Phase:
    """A stretch of training with an optimiser of its own (a new phase starts with empty momentum).

    Update n of the phase, counted from 0, has the rate lr * gamma^(number of `drops` that are <= n).
    """

    iterations: int
    lr: float
    drops: tuple[int, ...] = ()
    gamma: float = 0.1
    trains: str = "all"  # "all" | "head": what is not the backbone, the loss's own weights included


@dataclass(frozen=True)
class Torch:
    """Network, loss and optimiser of a PyTorch release: class names of `ports` (and torch.optim) and their arguments."""

    backbone: dict[str, Any]  # {"class": name in paper_recipes.runner.engines.networks, **arguments}
    head: dict[str, Any]  # {"class": name in ports.backbones.heads, **arguments}
    loss: dict[
        str, Any
    ]  # {"class": name in ports.losses, **arguments}; num_classes, where the loss has it, is the training data's
    optimizer: dict[str, Any]  # {"class": name in torch.optim, **arguments but lr}
    phases: tuple[Phase, ...]
    frozen_bn: bool = False  # running statistics stay those of the starting weights; gamma and beta are trained
    memory: dict[str, Any] | None = None  # arguments of ports.memory.CrossBatchMemory
    embedding: str = "embedding"  # what expected values and reports call the features


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

    protocol: str  # "self": query = gallery = test set without the query itself; "query-gallery"; "reid": CMC and mAP
    ks: tuple[int, ...]
    batch_size: int
    iterations: tuple[int, ...]  # checkpoints that the authors evaluated
    ties: str = "matlab"
    # recall_at_k of ports.metrics.retrieval, or a function of ports.metrics.originals
    rule: str = field(default="recall_at_k", metadata=_ABSENT_AT_DEFAULT)
    binary: bool = field(
        default=False, metadata=_ABSENT_AT_DEFAULT
    )  # also score the signs of the features, by Hamming distance
    # reid: cameras (bool: same camera is junk), junk_ids, tracklets (bool: mean of the frames' raw features)
    options: dict[str, Any] = field(default_factory=dict, metadata=_ABSENT_AT_DEFAULT)
    # reid: also score the images of a query's person and camera together, pooled by "avg", "max" or each of both
    multi_query: tuple[str, ...] = field(default=(), metadata=_ABSENT_AT_DEFAULT)
    # reid: also score re-ranked. "by" "k_reciprocal" with k1, k2, lam: each of the network's embeddings; "by" "expansion" with
    # neighbours: what multi_query pooled by "of"
    rerank: dict[str, Any] = field(default_factory=dict, metadata=_ABSENT_AT_DEFAULT)

    def reranked(self, outputs: Iterable[str]) -> tuple[str, ...]:
        """Which embeddings are scored re-ranked, too: some of the network's `outputs`, or what several queries give of them."""
        if not self.rerank:
            return ()
        if (how := self.rerank.get("of")) is None:
            return tuple(outputs)
        return tuple(multi_query_name(name, how) for name in outputs if how in self.multi_query)


@dataclass(frozen=True)
class Expected:
    """One published value that a run is held to. Percent; `tolerance` in points, on both sides."""

    embedding: str  # one of the recipe's `embeddings`
    metric: str
    value: float
    tolerance: float
    provenance: str
    status: str = "stated"  # stated | inferred | ours


def expect(
    embedding: str, values: dict[str, float], tolerance: float, provenance: str, status: str = "stated"
) -> tuple[Expected, ...]:
    """One published row: metric -> value in percent, all of one table and one tolerance."""
    return tuple(Expected(embedding, metric, value, tolerance, provenance, status) for metric, value in values.items())


def recalls(ks: tuple[int, ...], values: tuple[float, ...]) -> dict[str, float]:
    """Values in the order of K, as tables print them. A row may end before the last K."""
    return {f"R@{k}": value for k, value in zip(ks, values)}


@dataclass(frozen=True)
class Band:
    """What a letters run gives on every machine: a check of an installation, never the paper's number."""

    metric: str  # of the headline embedding
    value: float  # percent
    tolerance: float  # points
    recorded: str  # on what


@dataclass(frozen=True)
class Embedded:
    """The recipe at the scale of a laptop, on images that need no download. Formulas and code path are unchanged."""

    classes_per_batch: int
    images_per_class: int
    iterations: int
    train_classes: int
    test_classes: int
    evaluate_every: int
    # of each test letter, drawn by the recipe's seed; among all sixteen a picture finds its letter too easily. None: all
    test_pictures: int | None = None
    # times the paper's learning rate, where that destroys the small start before so short a run can mend it
    rate: float = field(default=1.0, metadata=_ABSENT_AT_DEFAULT)
    # length with --weights none, which teaches nearly nothing in as few steps as the start needs; None: the same
    seeded_iterations: int | None = field(default=None, metadata=_ABSENT_AT_DEFAULT)
    band: Band | None = field(default=None, metadata=_ABSENT_AT_DEFAULT)


@dataclass(frozen=True)
class Recipe:
    name: str
    title: str
    source: Source
    dataset: str  # a name of ports.datasets.names()
    sampler: Sampler
    images: dict[str, Any]  # {"pipeline": class name of ports.images, **its fields}
    evaluation: Evaluation
    iterations: int
    snapshot_every: int
    weights: str  # what the authors start from; the file's name is the first word
    expected: tuple[Expected, ...]
    embedded: Embedded
    seed: int = 123
    deviations: tuple[str, ...] = ()  # known differences between this recipe and what the authors ran
    caffe: Caffe | None = field(default=None, metadata=_ABSENT_AT_DEFAULT)  # exactly one of these two
    torch: Torch | None = field(default=None, metadata=_ABSENT_AT_DEFAULT)
    boxes: bool = field(
        default=False, metadata=_ABSENT_AT_DEFAULT
    )  # the annotated box is cut out of each picture first
    # setting -> "stated | inferred | ours: where from", for settings that were never published as a whole
    provenance: dict[str, str] = field(default_factory=dict)
    # sha256 of that file or, where no more is public, its first digits; "" where none is. It knows the file, it is no setting.
    weights_sha256: str = ""
    records: Records = field(default_factory=Records)  # what it is checked against
    # Was it trained by way of cuDNN? Its kernels compute the same formulas in another order: rounding, no setting.
    cudnn: bool = True
    derived_from: str = ""  # the frozen recipe's name, for a recipe made by `paper_recipes.derive`

    def __post_init__(self) -> None:
        if (self.caffe is None) == (self.torch is None):
            raise ValueError(f"recipe {self.name}: exactly one of caffe and torch describes the network")

    def the_caffe(self) -> Caffe:
        """Networks and solver of a Caffe recipe. Raises ValueError for a PyTorch recipe."""
        if self.caffe is None:
            raise ValueError(f"{self.name} is a PyTorch recipe: it has no Caffe networks")
        return self.caffe

    @property
    def cost(self) -> str:
        """How long the training is. The hours are an estimate, without evaluations; none was measured."""
        bn_inception = self.torch is None or self.torch.backbone["class"] == "BNInception"
        rate = _V100_BN_INCEPTION if bn_inception else _V100_RESNET50
        hours = self.iterations * self.sampler.batch_size / rate / 3600
        steps = f"{self.iterations:,} steps of {self.sampler.batch_size:,} images"
        return f"{steps}: {hours:.1f} h on one V100 (estimated from {rate} images a second, float32; evaluations apart)"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the embeddings that the network gives; the first is the headline."""
        return (self.torch.embedding,) if self.torch is not None else tuple(self.the_caffe().test_nets)

    @property
    def embeddings(self) -> tuple[str, ...]:
        """Names of the embeddings that an evaluation scores: the network's, and what the protocol makes of them; one that is
        scored re-ranked too stands directly before that."""
        binary = [binary_name(name) for name in self.outputs] if self.evaluation.binary else []
        again = {name: (name, reranked_name(name)) for name in self.evaluation.reranked(self.outputs)}
        once = (*self.outputs, *binary, *self.multi_query_names)
        return tuple(made for name in once for made in again.get(name, (name,)))

    @property
    def multi_query_names(self) -> tuple[str, ...]:
        """Names of the embeddings that are pooled over the images of a query."""
        return tuple(multi_query_name(name, how) for how in self.evaluation.multi_query for name in self.outputs)

    def canonical(self) -> dict[str, Any]:
        """Everything that affects the result, as JSON types."""
        data = _facts(self)
        prose = (
            "title",
            "source",
            "expected",
            "deviations",
            "provenance",
            "records",
            "derived_from",
            "weights_sha256",
            "cudnn",
        )
        for name in prose:
            del data[name]
        data["embedded"].pop("band", None)  # what a run is held to, as "expected" is
        return json.loads(json.dumps(data))

    def fingerprint(self) -> str:
        """sha256 over the canonical JSON; two recipes with the same fingerprint compute the same thing."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def binary_name(embedding: str) -> str:
    return f"{embedding} (binary)"


def multi_query_name(embedding: str, how: str) -> str:
    return f"{embedding} ({how} of queries)"


def reranked_name(embedding: str) -> str:
    return f"{embedding} re-ranked"


def _facts(value: Any) -> Any:
    """`dataclasses.asdict` without later fields that stand at their default."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        if isinstance(value, (list, tuple)):
            return [_facts(item) for item in value]
        return value
    facts = {}
    for f in dataclasses.fields(value):
        content = getattr(value, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if not (f.metadata.get("later") and content == default):
            facts[f.name] = _facts(content)
    return facts
