"""Caffe's learning-rate policies (sgd_solver.cpp, GetLearningRate)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ports.float32 import f32

#: Fields that a policy reads besides base_lr.
_NEEDS = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
}


class LearningRate:
    """The learning rate of each iteration, for a SolverParameter message.

    Calling it with the 0-based iteration returns the rate of that iteration's update. It has state, as in Caffe:
    `current_step` is part of a .solverstate. In `multistep` a call passes at most ONE stepvalue (Caffe tests with `if`,
    not `while`), and the test comes before the update: stepvalue s acts from the (s+1)-th update on; a stepvalue given
    twice multiplies by gamma in two successive iterations. A closed form (gamma ** count of passed values) would be one
    iteration early there, and wrong after resuming in the middle.

    Rates are computed in double from the proto's float32 values, as in Solver<double>; Solver<float> rounds the result.

    Raises ValueError for a policy that Caffe does not have, or a field that the policy needs and the solver lacks.
    """

    def __init__(self, param: Any) -> None:
        self.policy: str = param.lr_policy
        if self.policy not in _NEEDS:
            raise ValueError(f"unknown lr_policy {self.policy!r}; Caffe has {', '.join(_NEEDS)}")
        if not param.HasField("base_lr"):
            raise ValueError("the solver has no base_lr")
        for name in _NEEDS[self.policy]:
            present = len(param.stepvalue) > 0 if name == "stepvalue" else param.HasField(name)
            if not present:
                raise ValueError(f"lr_policy {self.policy!r} needs {name}, which the solver does not give")
        if self.policy == "step" and param.stepsize <= 0:
            raise ValueError(f"lr_policy 'step' needs a positive stepsize, got {param.stepsize}")
        self.base_lr = f32(param.base_lr)
        self.gamma = f32(param.gamma)
        self.power = f32(param.power)
        self.stepsize: int = param.stepsize
        self.stepvalues: list[int] = list(param.stepvalue)
        self.max_iter: int = param.max_iter
        self.current_step = 0

    def __call__(self, iteration: int) -> float:
        """Rate of the update of `iteration` (0-based); moves `current_step`."""
        base, gamma = self.base_lr, self.gamma
        if self.policy == "fixed":
            return base
        if self.policy == "step":
            self.current_step = iteration // self.stepsize
            return base * gamma**self.current_step
        if self.policy == "multistep":
            if self.current_step < len(self.stepvalues) and iteration >= self.stepvalues[self.current_step]:
                self.current_step += 1
            return base * gamma**self.current_step
        if self.policy == "exp":
            return base * gamma**iteration
        if self.policy == "inv":
            # gamma * iter is a float32 product in the original; everything after it is double.
            return base * (1 + float(np.float32(gamma) * np.float32(iteration))) ** -self.power
        if self.policy == "poly":
            return base * (1 - iteration / self.max_iter) ** self.power
        x = -gamma * (iteration - self.stepsize)
        # math.exp overflows where C's exp gives inf and the rate is 0.
        return base / (1 + math.exp(x)) if x < 709 else 0.0
