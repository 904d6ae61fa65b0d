"""What a reference is: a function, and the switches that make known wrong ports of it."""

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
