"""Each solver against numbers worked out by hand, and against a scalar Python version written from its formula."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from caffe_compat.solver.optim import CaffeAdaDelta, CaffeAdaGrad, CaffeAdam, CaffeNesterov, CaffeRMSProp, CaffeSGD

GRADS = [0.5, -1.25, 0.75, 2.0, -0.125]
RATES = [0.5, 0.5, 0.125, 0.125, 0.0625]


def f32(x: float) -> float:
    return float(np.float32(x))


def run(cls: Callable[..., Any], start: float = 1.0, dtype: torch.dtype = torch.float64, **kw: Any) -> list[float]:
    """Parameter after each of the five updates."""
    w = torch.nn.Parameter(torch.tensor([start], dtype=dtype))
    opt = cls([{"params": [w], "lr_mult": 2.0, "decay_mult": 3.0}], lr=RATES[0], **kw)
    out = []
    for grad, rate in zip(GRADS, RATES):
        w.grad = torch.tensor([grad], dtype=dtype)
        opt.param_groups[0]["lr"] = rate
        opt.step()
        out.append(w.item())
    return out


def test_sgd_two_steps_by_hand() -> None:
    # rate 0.5*2 = 1; decay 0.25*3 = 0.75; every number below is exact in binary.
    # d = 0.5 + 0.75*1 = 1.25, h = 1.25, w = -0.25
    # d = -1.25 - 0.1875 = -1.4375, h = -1.4375 + 0.5*1.25 = -0.8125, w = 0.5625
    # rate 0.125*2 = 0.25: d = 0.75 + 0.421875 = 1.171875, h = 0.29296875 - 0.40625 = -0.11328125, w = 0.67578125
    assert run(CaffeSGD, momentum=0.5, weight_decay=0.25)[:3] == [-0.25, 0.5625, 0.67578125]


def test_nesterov_two_steps_by_hand() -> None:
    # h = 1.25, w = 1 - 1.5*1.25 = -0.875
    # d = -1.25 - 0.65625 = -1.90625, h' = -1.90625 + 0.625 = -1.28125, w = -0.875 + 1.5*1.28125 + 0.5*1.25 = 1.671875
    assert run(CaffeNesterov, momentum=0.5, weight_decay=0.25)[:2] == [-0.875, 1.671875]


def test_l1_adds_the_sign() -> None:
    # decay 0.75 * sign(1); w = 1 - (0.5 + 0.75) = -0.25; then d = -1.25 - 0.75 = -2, w = 1.75
    assert run(CaffeSGD, weight_decay=0.25, regularization_type="L1")[:2] == [-0.25, 1.75]


def test_adagrad_two_steps_by_hand() -> None:
    # g = 0.5: h = 0.25, update 1 * 0.5 / (0.5 + 0.5) = 0.5, w = 0.5. g = -1.25: h = 0.25 + 1.5625
    got = run(CaffeAdaGrad, delta=0.5)
    assert got[0] == 0.5
    assert got[1] == pytest.approx(0.5 + 1.25 / (math.sqrt(1.8125) + 0.5), rel=1e-15)


def _scalar_updates(kind: str) -> Iterator[float]:
    """The update formulas once more, on Python floats, with the hyper-parameters of `SCALAR`."""
    h1 = h2 = 0.0
    for t, (g, lr) in enumerate(zip(GRADS, RATES), 1):
        r = lr * 2.0
        if kind == "rmsprop":
            k, d = f32(0.9), f32(1e-3)
            h1 = (1 - k) * g * g + k * h1
            yield r * g / (math.sqrt(h1) + d)
        elif kind == "adadelta":
            m, d = f32(0.95), f32(1e-6)
            h1 = (1 - m) * g * g + m * h1
            step = g * math.sqrt((d + h2) / (d + h1))
            h2 = (1 - m) * step * step + m * h2
            yield r * step
        elif kind == "adam":
            b1, b2, d = f32(0.9), f32(0.999), f32(1e-8)
            h1 = (1 - b1) * g + b1 * h1
            h2 = (1 - b2) * g * g + b2 * h2
            yield r * (math.sqrt(1 - b2**t) / (1 - b1**t)) * h1 / (math.sqrt(h2) + d)


SCALAR: dict[str, tuple[Any, dict[str, float]]] = {
    "rmsprop": (CaffeRMSProp, {"rms_decay": 0.9, "delta": 1e-3}),
    "adadelta": (CaffeAdaDelta, {"momentum": 0.95, "delta": 1e-6}),
    "adam": (CaffeAdam, {"momentum": 0.9, "momentum2": 0.999, "delta": 1e-8}),
}


@pytest.mark.parametrize("kind", SCALAR)
def test_adaptive_solvers_against_the_scalar_formula(kind: str) -> None:
    cls, kw = SCALAR[kind]
    w, want = 1.0, []
    for update in _scalar_updates(kind):
        w -= update
        want.append(w)
    # Five updates of a few roundings each.
    np.testing.assert_allclose(run(cls, **kw), want, rtol=1e-14)


def test_adam_first_step_by_hand() -> None:
    # m/sqrt(v) with its correction is sign(g) at t = 1, so w = 1 - 1*1 (delta shifts it by 1e-8/(sqrt(1e-3)*0.5)).
    assert run(CaffeAdam, momentum=0.9)[0] == pytest.approx(0.0, abs=1e-6)


def test_clip_acts_on_the_whole_net_and_before_iter_size() -> None:
    a, b = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    a.grad, b.grad = torch.tensor([3.0], dtype=torch.float64), torch.tensor([4.0], dtype=torch.float64)
    CaffeSGD([a, b], lr=1.0, clip_gradients=2.5, iter_size=2).step()
    # norm 5 -> scaled by 0.5 -> divided by 2. Clipping after the division (norm 2.5) would change nothing: -1.5, -2.
    assert (a.item(), b.item()) == (-0.75, -1.0)
    assert a.grad.item() == 3.0


def test_a_blob_without_gradient_still_decays() -> None:
    w = torch.ones(1, dtype=torch.float64)
    opt = CaffeSGD([w], lr=0.5, momentum=0.5, weight_decay=0.5)
    opt.step()
    opt.step()
    # h = 0.25, w = 0.75; h = 0.1875 + 0.125, w = 0.4375
    assert w.item() == 0.4375


def test_hyper_parameters_are_float32() -> None:
    """0.9 in a solver.prototxt is 0.89999998 in a double solver too."""
    got = run(CaffeSGD, momentum=0.9)
    h1 = GRADS[0]
    h2 = GRADS[1] + f32(0.9) * h1
    assert got[1] == pytest.approx(1 - h1 - h2, rel=1e-15)
    assert abs(got[1] - (1 - h1 - (GRADS[1] + 0.9 * h1))) > 1e-9


def test_history_round_trip_in_caffes_order() -> None:
    w = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64)), torch.nn.Parameter(torch.ones(3, dtype=torch.float64))]
    opt = CaffeAdam(w, lr=0.1)
    for p in w:
        p.grad = torch.ones_like(p)
    opt.step()
    shapes = [tuple(h.shape) for h in opt.history]
    assert shapes == [(2,), (3,), (2,), (3,)]  # all first moments, then all second ones
    other = CaffeAdam(w, lr=0.1)
    other.load_history([h.numpy() for h in opt.history])
    assert all(torch.equal(x, y) for x, y in zip(opt.history, other.history))
    with pytest.raises(ValueError, match="3 history blobs"):
        other.load_history(opt.history[:3])
    with pytest.raises(ValueError, match=r"history blob 0 has shape \(3,\)"):
        other.load_history([torch.zeros(3), *opt.history[1:]])


def test_state_dict_round_trip() -> None:
    def build() -> tuple[torch.nn.Parameter, CaffeAdam]:
        w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
        return w, CaffeAdam([w], lr=0.1, momentum=0.9)

    w, opt = build()
    for _ in range(3):
        w.grad = torch.tensor([0.5, -2.0], dtype=torch.float64)
        opt.step()
    w2, opt2 = build()
    with torch.no_grad():
        w2.copy_(w)
    opt2.load_state_dict(copy.deepcopy(opt.state_dict()))  # torch's load aliases the tensors
    for p, o in ((w, opt), (w2, opt2)):
        p.grad = torch.tensor([0.25, 1.0], dtype=torch.float64)
        o.step()
    assert torch.equal(w, w2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_sgd_is_caught_at_the_first_rate_step(dtype: torch.dtype) -> None:
    """Mutation: torch.optim.SGD's convention agrees until the rate changes (update 3) and not after it."""
    w = torch.nn.Parameter(torch.ones(1, dtype=dtype))
    opt = torch.optim.SGD([w], lr=1.0, momentum=f32(0.9), weight_decay=f32(0.25) * 3)
    theirs = []
    for grad, rate in zip(GRADS, RATES):
        w.grad = torch.tensor([grad], dtype=dtype)
        opt.param_groups[0]["lr"] = rate * 2
        opt.step()
        theirs.append(w.item())
    ours = run(CaffeSGD, dtype=dtype, momentum=0.9, weight_decay=0.25)
    # The trajectory tolerance is 1e-9 in float64; float32 rounds at 6e-8.
    tolerance = 1e-9 if dtype == torch.float64 else 1e-6
    error = np.abs(np.array(ours) - theirs)
    assert (error[:2] < tolerance).all()
    assert error[2] > 1e-2


def test_errors() -> None:
    w = [torch.nn.Parameter(torch.zeros(1))]
    with pytest.raises(ValueError, match="'L3'"):
        CaffeSGD(w, lr=0.1, regularization_type="L3")
    with pytest.raises(ValueError, match="iter_size"):
        CaffeSGD(w, lr=0.1, iter_size=0)
    with pytest.raises(ValueError, match="AdaGrad has no momentum"):
        CaffeAdaGrad(w, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match="rms_decay"):
        CaffeRMSProp(w, lr=0.1, rms_decay=1.0)
