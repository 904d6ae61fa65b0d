"""Every policy against its formula worked out by hand; multistep against the steps that the original solvers took."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from caffe_compat.solver.lr_policy import LearningRate


class Param(SimpleNamespace):
    """A SolverParameter as far as the policies look at it."""

    def __init__(self, **given: Any) -> None:
        self._given = set(given)
        base = {"base_lr": 0.0, "gamma": 0.0, "power": 0.0, "stepsize": 0, "stepvalue": [], "max_iter": 0}
        super().__init__(**{**base, **given})

    def HasField(self, name: str) -> bool:
        return name in self._given


def rates(n: int, **kw: Any) -> list[float]:
    rate = LearningRate(Param(**kw))
    return [rate(i) for i in range(n)]


def test_fixed_is_the_float32_of_base_lr() -> None:
    assert rates(2, lr_policy="fixed", base_lr=0.1) == [float(np.float32(0.1))] * 2


def test_step_exp() -> None:
    assert rates(5, lr_policy="step", base_lr=0.5, gamma=0.25, stepsize=2) == [0.5, 0.5, 0.125, 0.125, 0.03125]
    assert rates(3, lr_policy="exp", base_lr=0.5, gamma=0.25) == [0.5, 0.125, 0.03125]


def test_inv_poly_sigmoid() -> None:
    assert rates(4, lr_policy="inv", base_lr=1.0, gamma=1.0, power=2.0)[3] == 1 / 16
    assert rates(6, lr_policy="poly", base_lr=1.0, power=2.0, max_iter=4)[1:3] == [0.75**2, 0.5**2]
    got = rates(6, lr_policy="sigmoid", base_lr=1.0, gamma=-0.5, stepsize=3)
    assert got[3] == 0.5
    assert got[5] == 1 / (1 + math.exp(1))
    # exp overflows to inf in C: rate 0, not an error.
    assert rates(1, lr_policy="sigmoid", base_lr=1.0, gamma=1.0, stepsize=5000) == [0.0]


def test_multistep_passes_one_value_per_iteration() -> None:
    # 2 2: the second one waits for the next iteration; a `while` would give 0.25 at once.
    got = rates(6, lr_policy="multistep", base_lr=1.0, gamma=0.5, stepvalue=[2, 2, 5])
    assert got == [1, 1, 0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize(
    "run", ["osm_aaai19/cub_multistep_f64", "rll_cvpr19/sop_m12_multistep_f64", "rll_tpami/sop_anneal_f64"]
)
def test_current_step_follows_the_recorded_solvers(reference: Path, run: str) -> None:
    folder = reference / "train" / run
    text = json.loads((folder / "manifest.json").read_text())["solver_text"]
    steps = [int(line.split(":")[1]) for line in text.splitlines() if line.startswith("stepvalue")]
    rate = LearningRate(Param(lr_policy="multistep", base_lr=1.0, gamma=0.5, stepvalue=steps))
    got = []
    for i in range(10):
        rate(i)
        got.append(rate.current_step)
    assert got == np.load(folder / "trace.npz")["current_step"].tolist()


def test_errors_name_policy_and_field() -> None:
    with pytest.raises(ValueError, match="'cosine'"):
        LearningRate(Param(lr_policy="cosine", base_lr=1.0))
    with pytest.raises(ValueError, match="needs stepvalue"):
        LearningRate(Param(lr_policy="multistep", base_lr=1.0, gamma=0.5))
    with pytest.raises(ValueError, match="base_lr"):
        LearningRate(Param(lr_policy="fixed"))
    with pytest.raises(ValueError, match="stepsize, got 0"):
        LearningRate(Param(lr_policy="step", base_lr=1.0, gamma=0.5, stepsize=0))
