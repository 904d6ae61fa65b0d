"""Plain float64 re-statements of the recorded losses, with one switch for every deviation known from public ports.

Written from the formulas for being read, not for speed (N x N x D differences). They serve `golden.diagnosis`, which looks for
the switches that turn the right formula into the user's gradient, and the golden sets' own self-test, in which every switch must
be caught, and every setting when it is moved by 2 %. A reference is a function

    f(arguments, params, deviations) -> (value, surrogate) or (value, surrogate, {name: further output})

of arrays of `golden.tape` (differentiable ones) and plain arrays: `value` is what the loss reports; the derivative of `surrogate`
gives its gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
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
    `settings`: parameter -> values that are tried in place of the set's; `constants`: what the original's text fixes or defaults to
    and a port may have as a setting; `switches`, `counts`: which settings are on or off, or count something.
    """

    function: Callable[..., Any]
    deviations: tuple[Deviation, ...]
    presets: dict[str, frozenset[str]]
    exclusive: tuple[frozenset[str], ...] = ()
    settings: dict[str, tuple[float, ...]] = field(default_factory=dict)
    constants: dict[str, float | bool] = field(default_factory=dict)
    switches: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()

    def words(self, key: str) -> str:
        return next(d.words for d in self.deviations if d.key == key)


# family of a set -> module here and name in it; none is imported before its use
_FAMILIES = {
    "osm": "osm.REFERENCE", "ms": "multi_similarity.REFERENCE", "contrastive-deep-metric": "contrastive.REFERENCE",
    "margin": "margin.REFERENCE", "normsoftmax": "norm_softmax.REFERENCE", "binomial": "binomial.REFERENCE",
    "lifted": "lifted.REFERENCE", "hard-mining": "hard_mining.BY_VALUE_OF_ANCHOR", "triplet-hard-mining": "hard_mining.BY_INDEX",
    "nca": "nca.REFERENCE", "semi-hard": "semi_hard.REFERENCE", "batch-all": "batch_all.REFERENCE", "weight": "weight.REFERENCE",
    "contrastive-caffe": "caffe_pairs.CONTRASTIVE", "contrastive-v2": "caffe_pairs.CONTRASTIVE_V2", "triplet-caffe": "caffe_pairs.TRIPLET",
    "weighted-softmax": "softmax_weights.WEIGHTED", "caa": "softmax_weights.CAA", "unified-weight": "softmax_weights.UNIFIED",
    "rll-library": "library.RLL", "ms-library": "library.MS",
}  # fmt: skip
# family of a set -> kind of weighted pair loss
_ATTENTIVE = {
    "osm-v1": "V", "osm-v2": "V2", "osm-v3": "V3", "osm-v4": "V4", "weighted-pair": "weighted_pair",
    "weighted-valid-pair": "weighted_valid_pair", "weighted-contrastive": "hardest", "ohpm": "hardest",
}  # fmt: skip


def reference_for(family: str) -> Reference | None:
    """The reference of a set's `family`; None where we have none."""
    if family in ("rll-cvpr19", "rll-tpami"):
        from golden.references.rll import reference

        return reference(tpami=family == "rll-tpami")
    if family in _ATTENTIVE:
        from golden.references.attentive_pairs import reference as attentive

        return attentive(_ATTENTIVE[family])
    if family not in _FAMILIES:
        return None
    module, name = _FAMILIES[family].split(".")
    found: Reference = getattr(import_module(f"golden.references.{module}"), name)
    return found
