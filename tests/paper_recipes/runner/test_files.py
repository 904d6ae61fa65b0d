"""Files that are whole or absent, and strict JSON."""

from __future__ import annotations

import math

import pytest

from paper_recipes.runner.files import write_json


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_and_nothing_is_written(tmp_path, value):
    write_json(tmp_path / "a.json", {"R@1": 1.0})
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(ValueError, match=r"a\.json: holds a number that is not finite"):
        write_json(tmp_path / "a.json", {"R@1": [value]})
    assert (tmp_path / "a.json").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
