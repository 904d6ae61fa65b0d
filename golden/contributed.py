"""Golden sets that others made: what set.json says and cases.npz holds, read as strangers' files.

docs/golden-format.md specifies the format; `golden.validation` is what a set must show before it is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .cases import Argument, Case, Expected, GoldenSet

FORMAT = 1
SET, CASES = "set.json", "cases.npz"
KINDS = ("authors_program", "independent_program")
_TEXTS = ("name", "what", "signature", "kind", "program", "release", "licence", "source")


class ContributionError(ValueError):
    """A folder that is no contributed set."""


def checked(facts: Any, where: Any) -> dict[str, Any]:
    """What a set.json says, with `params`, `cases` and `inert` as objects. ContributionError, with `where`, for another format."""
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        raise ContributionError(f"{where}: format {found!r}, expected {FORMAT}")
    for field in _TEXTS:
        if not isinstance(facts.get(field), str) or not facts[field].strip():
            raise ContributionError(f"{where}: {field!r} must be a text that says something, got {facts.get(field)!r}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", facts["name"]):
        raise ContributionError(
            f"{where}: name {facts['name']!r} is not made of lower-case letters, digits and single hyphens"
        )
    if facts["kind"] not in KINDS:
        raise ContributionError(f"{where}: kind {facts['kind']!r} is none of {', '.join(KINDS)}")
    for field in ("params", "cases", "inert"):
        if not isinstance(facts.setdefault(field, {}), dict):
            raise ContributionError(f"{where}: {field!r} must be an object, got {type(facts[field]).__name__}")
    return facts


def assemble(facts: dict[str, Any], arrays: Mapping[str, np.ndarray], where: Any) -> GoldenSet:
    """The set. ContributionError where a case lacks an array, or holds one of another shape than its argument."""
    parts = facts["signature"].split(", ")
    cases = []
    for name, dtypes in facts["cases"].items():
        try:
            arguments = [
                Argument(p.rstrip("*"), arrays[f"{name}:input:{p.rstrip('*')}"], p.endswith("*")) for p in parts
            ]
            expected = {d: _expected(arrays, f"{name}:{d}", arguments) for d in dtypes}
        except (KeyError, TypeError) as error:
            raise ContributionError(f"{where}: case {name!r} is not whole: {error}") from None
        cases.append(Case(name, tuple(arguments), expected))
    return GoldenSet(
        facts["name"], facts["what"], facts["signature"], facts["params"], facts["kind"], facts["program"],
        facts.get("family", facts["name"]), tuple(cases),
    )  # fmt: skip


def _expected(arrays: Mapping[str, np.ndarray], key: str, arguments: list[Argument]) -> Expected:
    gradients = []
    for argument in (a for a in arguments if a.differentiable):
        gradient = arrays[f"{key}:grad_{argument.name}"]
        if gradient.shape != argument.array.shape:
            raise ContributionError(
                f"{key}: the gradient by {argument.name} has shape {gradient.shape}, the argument {argument.array.shape}"
            )
        gradients.append(gradient)
    return Expected(float(arrays[f"{key}:loss"].reshape(())), tuple(gradients))
