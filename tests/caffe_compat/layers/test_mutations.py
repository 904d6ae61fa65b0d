"""Known wrong ports of layers: each is caught by a recorded case that travels with the project."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from caffe_compat.layers import activations, arithmetic, batch_norm, normalization, pooling, softmax

spec = importlib.util.spec_from_file_location("recorded", Path(__file__).with_name("test_recorded.py"))
recorded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recorded)


def biased_running_variance(self, x, gamma=None, beta=None):
    if self.use_global_stats:
        return self.normalized(x, gamma, beta)
    axes = [a for a in range(x.ndim) if a != 1]
    top = self.normalized(x, gamma, beta)
    with torch.no_grad():
        self.weight_sum.mul_(self.fraction).add_(1)
        self.mean_sum.mul_(self.fraction).add_(x.mean(axes))
        self.variance_sum.mul_(self.fraction).add_(x.var(axes, unbiased=False))
    return top


def torch_momentum(self, x, gamma=None, beta=None):
    """torch's running average in place of Caffe's running sum."""
    if self.use_global_stats:
        return self.normalized(x, gamma, beta)
    mean, variance = self.mean_sum.new_zeros(2, self.channels)
    top = self.normalized(x, gamma, beta, mean, variance)
    with torch.no_grad():
        self.weight_sum.fill_(1)
        self.mean_sum.mul_(self.fraction).add_((1 - self.fraction) * mean)
        self.variance_sum.mul_(self.fraction).add_((1 - self.fraction) * variance)
    return top


def no_guard_for_zero_weight(self):
    return self.mean_sum / self.weight_sum, self.variance_sum / self.weight_sum


def floor_pooling(self, x):
    pool = F.max_pool2d if self.method == "MAX" else F.avg_pool2d
    return (pool(x, self.kernel, self.stride, self.pad),)


def average_without_padding(self, x):
    if self.method == "MAX":
        return (F.max_pool2d(x, self.kernel, self.stride, self.pad, ceil_mode=True),)
    return (F.avg_pool2d(x, self.kernel, self.stride, self.pad, ceil_mode=True, count_include_pad=False),)


def alpha_not_divided(self, x):
    return (F.local_response_norm(x, self.size, self.alpha * self.size, self.beta, self.k),)


def true_l1_gradient(self, x):
    top = x.reshape(-1)[: x.shape[0]] / (x.reshape(-1)[: x.shape[0]].abs().sum() + 1e-12)
    return torch.cat([top, x.new_zeros(x.numel() - top.numel())]).reshape(x.shape)


def normalized_by_batch(layer, mode, outer, inner, valid):
    return float(outer)


def tie_shared_maximum(self, *bottoms):
    top = bottoms[0]
    for bottom in bottoms[1:]:
        top = torch.maximum(top, bottom) if self.operation == "MAX" else top + bottom
    return (top,)


MUTANTS = {
    "BatchNorm: biased running variance": (batch_norm.BatchNorm, "normalize", biased_running_variance, "BatchNorm"),
    "BatchNorm: torch's running average": (batch_norm.BatchNorm, "normalize", torch_momentum, "BatchNorm"),
    "BatchNorm: division by zero weight": (
        batch_norm.BatchNorm, "global_statistics", no_guard_for_zero_weight, "BatchNorm",
    ),
    "Pooling: sizes rounded down": (pooling.Pooling, "forward", floor_pooling, "Pooling"),
    "Pooling: padding not counted": (pooling.Pooling, "forward", average_without_padding, "Pooling"),
    "LRN: alpha not divided by the size": (normalization.LRN, "forward", alpha_not_divided, "LRN"),
    "Normalization: true L1 gradient": (normalization.Normalization, "l1", true_l1_gradient, "Normalization"),
    "SoftmaxWithLoss: always per sample": (softmax, "normalizer", normalized_by_batch, "SoftmaxWithLoss"),
    "Eltwise: coefficients dropped": (arithmetic.Eltwise, "forward", tie_shared_maximum, "Eltwise"),
    "ReLU: slope dropped": (activations.ReLU, "forward", lambda self, x: (F.relu(x),), "ReLU"),
}  # fmt: skip


@pytest.mark.parametrize("owner, name, mutant, layer_type", MUTANTS.values(), ids=MUTANTS)
def test_wrong_port_is_caught(monkeypatch, owner, name, mutant, layer_type):
    cases = recorded._cases(recorded.LOCAL)[layer_type]
    monkeypatch.setattr(owner, name, mutant)
    wrong = []
    for case in cases:
        try:
            wrong += recorded.check(case, recorded.LOCAL)
        except RuntimeError as error:  # another output size than the recorded gradient's
            wrong.append(str(error))
    assert wrong


def test_one_epsilon_less_in_the_forks_norm_is_caught(monkeypatch):
    """osm_aaai19 read as an rll fork: the zero row tells them apart."""
    cases = [dict(c, tree="rll_cvpr19") for c in recorded._cases(recorded.LOCAL)["Normalization"] if "osm" in c["tree"]]
    wrong = [w for case in cases for w in recorded.check(case, recorded.LOCAL)]
    assert any("L2_zero_row" in w for w in wrong)
