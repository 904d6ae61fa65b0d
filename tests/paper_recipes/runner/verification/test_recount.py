"""How far a stated MAP@R may be from that of the stored embeddings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from paper_recipes.runner.scoring import insight
from paper_recipes.runner.verification import recount
from ports.datasets.split import Split

# Two letters with a partner each, and one alone: four queries have an item to find, R = 1.
LABELS = np.array([0, 1, 0, 1, 2])


def averages(last: float) -> list[float]:
    """The first picture is equally near to its partner and to the lone one, but for `last` of its rounding."""
    values = np.array([[1, 0, 0], [0, 1, 0], [0.8, 0, 0.6], [0, 1, 0], [0.8, 0, -0.6 - last]], dtype=np.float32)
    data = SimpleNamespace(test=Split(list("abcde"), LABELS), gallery=None)
    return insight.averages_at_r(insight.sides({"e": values}, None, data, "e", cameras=False))


def test_a_near_tie_may_fall_otherwise_and_no_more():
    here, there = averages(1e-3), averages(-1e-3)
    assert here == [1.0, 1.0, 1.0, 1.0] and there == [0.0, 1.0, 1.0, 1.0], "one of four, though there are five queries"
    assert recount._close(25 * sum(here), there) and recount._close(25 * sum(there), here)
    assert not recount._close(25 * sum(here), [0.0, 0.0, 1.0, 1.0]) and not recount._close(74.9, here)


@pytest.mark.parametrize(("said", "found", "same"), [(None, [], True), (None, [1.0], False), (50.0, [], False)])
def test_nothing_to_find_is_said_as_such(said, found, same):
    assert recount._close(said, found) is same
