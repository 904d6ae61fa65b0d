"""Plain float64 re-statements of six losses, with one switch for every deviation known from public ports.

Written from the formulas for being read, not for speed (N x N x D differences). They serve `golden.diagnosis`, which looks for
the switches that turn the right formula into the user's gradient, and the golden sets' own self-test, in which every switch must
be caught. A reference is a function

    f(arguments, params, deviations) -> (value, surrogate)

of torch float64 tensors: `value` is what the loss reports; autograd of `surrogate` by the embeddings gives its gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Deviation:
    """One switch. `words` completes "matches if ..."; `changes`: "gradient", "loss" or "both"."""

    key: str
    words: str
    changes: str = "gradient"


@dataclass(frozen=True)
class Reference:
    """`presets`: name -> deviations that make up a known other form; `exclusive`: groups of which one at most is tried;
    `settings`: parameter -> values that are tried in place of the set's.
    """

    function: Callable[..., Any]
    deviations: tuple[Deviation, ...]
    presets: dict[str, frozenset[str]]
    exclusive: tuple[frozenset[str], ...] = ()
    settings: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def words(self, key: str) -> str:
        return next(d.words for d in self.deviations if d.key == key)


def reference_for(family: str) -> Reference | None:
    """The reference of a set's `family`; None where we have none."""
    if family.startswith("rll-"):
        from golden.references.rll import reference

        return reference(tpami=family == "rll-tpami")
    if family.startswith("osm"):
        from golden.references.osm import REFERENCE

        return REFERENCE
    if family in ("ms", "ms-paper"):
        from golden.references.multi_similarity import REFERENCE

        return REFERENCE
    if family == "contrastive-deep-metric":
        from golden.references.contrastive import REFERENCE

        return REFERENCE
    if family == "margin":
        from golden.references.margin import REFERENCE

        return REFERENCE
    if family == "normsoftmax":
        from golden.references.norm_softmax import REFERENCE

        return REFERENCE
    return None
