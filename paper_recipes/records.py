"""What checks a recipe: recordings of the authors' programs, their logs, the rows of their tables.

None of it affects what a recipe computes, so none of it is in the fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Log:
    """The authors' text file with a line per scored checkpoint; its lines are "repo log" rows of `golden.published`."""

    file: str
    only: str = ""  # text in the rows of this embedding, where a file holds several protocols


@dataclass(frozen=True)
class Clustering:
    """How a release clusters: k-means' restarts and iterations, and the mean of entropies that NMI divides by."""

    n_init: int
    max_iter: int
    average: str
    origin: str


@dataclass(frozen=True)
class Records:
    """Everything that a recipe can be held against, besides the published values that it must meet."""

    training_run: str = ""  # Caffe: folder of golden/data/train, recorded with this very net and solver file
    stands_in: str = ""  # Caffe without one: the recipe with the same layers and solver whose recording is used
    forward: tuple[str, str] | None = (
        None  # BN-Inception in PyTorch: its recording, prefix of the head's parameters in it
    )
    loss_set: str = ""  # PyTorch: the golden set that was recorded from the release's loss file with these arguments
    # without one: the set of the same file at other arguments, and these: its code is then held, its setting is not
    loss_like: tuple[str, dict[str, Any]] | None = None
    loss_missing: str = ""  # without either: why, and what would close the link
    evaluation: bool = False  # re-identification: were runs of this data set's own evaluation script recorded?
    logs: dict[str, Log] = field(default_factory=dict)  # embedding -> the authors' log of it
    clustering: Clustering | None = None  # None: the release has no clustering
    papers: tuple[str, ...] = ()  # first letters of the papers in golden.published whose rows it may be held to
    method: str = ""  # first letters of the paper's own rows in the published tables; "": it printed none
    variants: dict[str, str] = field(default_factory=dict)  # embedding -> what the paper's tables call it
