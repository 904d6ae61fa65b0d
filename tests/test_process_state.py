"""No test depends on what an earlier one has set for the whole process."""

from __future__ import annotations

import random

import numpy as np
import torch
from helpers import process_state

from ports import determinism


def test_what_a_run_sets_is_put_back():
    before = process_state.state()
    for strict in (True, False):
        determinism.configure(5, strict=strict, threads=before["threads"] + 1, cudnn=strict)
        torch.set_default_dtype(torch.float64)
        changed = process_state.state()
        assert changed["threads"] == before["threads"] + 1 and changed["strict"] is strict
        process_state.restore(before)
        assert process_state.state() == before
        assert any(changed[switch] != before[switch] for switch in process_state.SWITCHES) or strict


def test_draws_are_the_same_whatever_was_drawn_before():
    def draw() -> list[float]:
        return [random.random(), np.random.random(), torch.rand(()).item()]  # noqa: NPY002

    started = draw()  # the first of this test
    assert draw() != started
    process_state.seed()
    assert draw() == started
