"""One statement of a run, and what came of recomputing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

HOLDS, FALSE, OPEN = "holds", "FALSE", "not checked"


class Unchecked(Exception):
    """A statement that cannot be recomputed here; the text says what is missing."""


@dataclass(frozen=True)
class Statement:
    """`words`: what was recomputed or, of a false one, the first thing that is not as stated."""

    name: str
    verdict: str  # HOLDS | FALSE | OPEN
    words: str


def stated(name: str, fine: str, wrong: Iterable[str]) -> Statement:
    """FALSE with the first of `wrong`, OPEN where it raises `Unchecked`, else HOLDS with `fine`.

    Files that do not fit together (a missing key, another type) are a false statement, too: they are no honest run's.
    """
    try:
        first = next(iter(wrong), None)
    except Unchecked as reason:
        return Statement(name, OPEN, str(reason))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OSError, ZeroDivisionError) as error:
        return Statement(name, FALSE, f"its files do not fit together: {type(error).__name__}: {error}")
    return Statement(name, HOLDS, fine) if first is None else Statement(name, FALSE, first)


def first_false(statements: Iterable[Statement]) -> Statement | None:
    return next((statement for statement in statements if statement.verdict == FALSE), None)


def open_ones(statements: Iterable[Statement]) -> Iterator[Statement]:
    return (statement for statement in statements if statement.verdict == OPEN)
