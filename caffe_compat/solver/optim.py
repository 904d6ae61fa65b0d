"""Caffe's solvers as torch optimisers: what ApplyUpdate does to the parameters (sgd_solver.cpp and its siblings).

One update, in Caffe's order: clip the gradient of the whole net, divide by iter_size, add weight decay, compute the
update value, subtract it. The learning rate multiplies BEFORE the momentum buffer,

    history = lr * lr_mult * (gradient + weight_decay * decay_mult * w) + momentum * history;    w -= history,

while torch.optim.SGD keeps gradients in its buffer and multiplies by the rate afterwards. The two agree as long as the
rate is constant; after a step of the rate Caffe still moves with the old rate's momentum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ports.float32 import f32


def _scales(value: float, multipliers: Sequence[float], dtype: torch.dtype) -> list[float]:
    """value * multiplier for each blob, the product rounded as a solver of that precision rounds it."""
    if dtype == torch.float64:
        return [value * m for m in multipliers]
    return [float(np.float32(value) * np.float32(m)) for m in multipliers]


class CaffeOptimizer(torch.optim.Optimizer):
    """Base of Caffe's solvers. `params`: tensors, or dicts with `params` and the optional `lr_mult` and `decay_mult`.

    lr: the rate of this iteration; whoever drives the optimiser sets `group["lr"]` (see `LearningRate`).
    weight_decay, regularization_type: "L2" adds weight_decay * decay_mult * w to the gradient, "L1" its sign.
    clip_gradients: largest L2 norm of the whole gradient; negative: none. Applied before the division by iter_size.
    iter_size: number of mini-batches whose gradients were summed up; the sum is divided by it.

    weight_decay and the other hyper-parameters are rounded to float32, which is what a solver.prototxt holds; `lr` is
    taken as it is. A blob without gradient (`grad is None`) counts as one with a zero gradient: decay and momentum
    still act on it, as on the BatchNorm statistics of the RLL forks.

    Raises ValueError for an unknown regularization_type or an iter_size below 1.
    """

    #: history blobs per parameter; Caffe stores them one set after the other.
    histories = 1

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        weight_decay: float = 0.0,
        regularization_type: str = "L2",
        clip_gradients: float = -1.0,
        iter_size: int = 1,
    ) -> None:
        if regularization_type not in ("L1", "L2"):
            raise ValueError(f"unknown regularization_type {regularization_type!r}; Caffe has L1 and L2")
        if iter_size < 1:
            raise ValueError(f"iter_size must be at least 1, got {iter_size}")
        self.weight_decay = f32(weight_decay)
        self.regularization_type = regularization_type
        self.clip_gradients = f32(clip_gradients)
        self.iter_size = iter_size
        super().__init__(params, {"lr": lr, "lr_mult": 1.0, "decay_mult": 1.0})

    def _entries(self) -> list[tuple[Tensor, dict[str, Any]]]:
        return [(p, group) for group in self.param_groups for p in group["params"]]

    def _history(self, p: Tensor) -> list[Tensor]:
        state = self.state[p]
        if "history" not in state:
            state["history"] = [torch.zeros_like(p, requires_grad=False) for _ in range(self.histories)]
        return state["history"]

    @property
    def history(self) -> list[Tensor]:
        """History blobs in Caffe's order: one per parameter, then (Adam, AdaDelta) the second one of each."""
        return [self._history(p)[k] for k in range(self.histories) for p, _ in self._entries()]

    @torch.no_grad()
    def load_history(self, blobs: Sequence[Any]) -> None:
        """Set the history from arrays or tensors in Caffe's order. Raises ValueError on a wrong number or shape."""
        own = self.history
        if len(blobs) != len(own):
            raise ValueError(f"the solver state has {len(blobs)} history blobs, this solver has {len(own)}")
        new = [torch.as_tensor(blob) for blob in blobs]
        for i, (old, blob) in enumerate(zip(own, new)):
            if old.shape != blob.shape:
                raise ValueError(f"history blob {i} has shape {tuple(blob.shape)}, expected {tuple(old.shape)}")
        for old, blob in zip(own, new):
            old.copy_(blob)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Apply one update from the `grad` of the parameters (which it leaves as they are)."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        entries = self._entries()
        if not entries:
            return loss
        params = [p for p, _ in entries]
        dtype = params[0].dtype
        diffs = self._regularized([torch.zeros_like(p) if p.grad is None else p.grad for p in params], entries)
        rates = [_scales(group["lr"], [group["lr_mult"]], dtype)[0] for _, group in entries]
        torch._foreach_sub_(params, list(self._update_values(params, diffs, rates)))
        return loss

    def _regularized(self, grads: list[Tensor], entries: list[tuple[Tensor, dict[str, Any]]]) -> list[Tensor]:
        if self.clip_gradients >= 0:
            norm = torch.stack([g.square().sum() for g in grads]).sum().sqrt()
            if norm > self.clip_gradients:
                grads = list(torch._foreach_mul(grads, (self.clip_gradients / norm).item()))
        if self.iter_size > 1:
            grads = list(torch._foreach_mul(grads, 1.0 / self.iter_size))
        if self.weight_decay:
            params = [p for p, _ in entries]
            decays = _scales(self.weight_decay, [group["decay_mult"] for _, group in entries], params[0].dtype)
            values = params if self.regularization_type == "L2" else [p.sign() for p in params]
            grads = list(torch._foreach_add(grads, torch._foreach_mul(values, decays)))
        return grads

    def _update_values(self, params: list[Tensor], diffs: list[Tensor], rates: list[float]) -> Sequence[Tensor]:
        """What is subtracted from each parameter; moves the history."""
        values = []
        for p, diff, rate in zip(params, diffs, rates):
            values.append(self._update_value(p, diff, rate))
        return values

    def _update_value(self, p: Tensor, diff: Tensor, rate: float) -> Tensor:
        raise NotImplementedError


class CaffeSGD(CaffeOptimizer):
    """SGD with momentum as in sgd_solver.cpp: history = rate * diff + momentum * history; w -= history."""

    def __init__(self, params: Iterable[Any], lr: float, *, momentum: float = 0.0, **kw: Any) -> None:
        super().__init__(params, lr, **kw)
        self.momentum = f32(momentum)

    def _move(self, params: list[Tensor], diffs: list[Tensor], rates: list[float]) -> list[Tensor]:
        history = [self._history(p)[0] for p in params]
        torch._foreach_mul_(history, self.momentum)
        torch._foreach_add_(history, torch._foreach_mul(diffs, rates))
        return history

    def _update_values(self, params: list[Tensor], diffs: list[Tensor], rates: list[float]) -> Sequence[Tensor]:
        return self._move(params, diffs, rates)


class CaffeNesterov(CaffeSGD):
    """nesterov_solver.cpp: the SGD history; the update is (1 + momentum) * new history - momentum * old history."""

    def _update_values(self, params: list[Tensor], diffs: list[Tensor], rates: list[float]) -> Sequence[Tensor]:
        old = torch._foreach_mul([self._history(p)[0] for p in params], self.momentum)
        return torch._foreach_sub(torch._foreach_mul(self._move(params, diffs, rates), 1.0 + self.momentum), old)


class CaffeAdaGrad(CaffeOptimizer):
    """adagrad_solver.cpp: history += diff^2; update = rate * diff / (sqrt(history) + delta)."""

    def __init__(self, params: Iterable[Any], lr: float, *, delta: float = 1e-8, momentum: float = 0, **kw: Any):
        if momentum:
            raise ValueError(f"AdaGrad has no momentum, got {momentum}")
        super().__init__(params, lr, **kw)
        self.delta = f32(delta)

    def _update_value(self, p: Tensor, diff: Tensor, rate: float) -> Tensor:
        (history,) = self._history(p)
        history += diff.square()
        return diff / (history.sqrt() + self.delta) * rate


class CaffeRMSProp(CaffeOptimizer):
    """rmsprop_solver.cpp: history = (1-r) diff^2 + r * history; update = rate * diff / (sqrt(history) + delta).

    The default of `rms_decay` is 0.99 in BVLC's proto and 0 in the forks, whose proto gives none.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        rms_decay: float = 0.99,
        delta: float = 1e-8,
        momentum: float = 0,
        **kw: Any,
    ):
        if momentum:
            raise ValueError(f"RMSProp has no momentum, got {momentum}")
        if not 0 <= rms_decay < 1:
            raise ValueError(f"rms_decay must lie in [0, 1), got {rms_decay}")
        super().__init__(params, lr, **kw)
        self.rms_decay, self.delta = f32(rms_decay), f32(delta)

    def _update_value(self, p: Tensor, diff: Tensor, rate: float) -> Tensor:
        (history,) = self._history(p)
        history.mul_(self.rms_decay).add_(diff.square() * (1 - self.rms_decay))
        return diff / (history.sqrt() + self.delta) * rate


class CaffeAdaDelta(CaffeOptimizer):
    """adadelta_solver.cpp; `momentum` is the decay of both histories. delta stands inside both square roots."""

    histories = 2

    def __init__(self, params: Iterable[Any], lr: float, *, momentum: float = 0.0, delta: float = 1e-8, **kw: Any):
        super().__init__(params, lr, **kw)
        self.momentum, self.delta = f32(momentum), f32(delta)

    def _update_value(self, p: Tensor, diff: Tensor, rate: float) -> Tensor:
        gradients, updates = self._history(p)
        gradients.mul_(self.momentum).add_(diff.square() * (1 - self.momentum))
        value = diff * ((self.delta + updates) / (self.delta + gradients)).sqrt()
        updates.mul_(self.momentum).add_(value.square() * (1 - self.momentum))
        return value * rate


class CaffeAdam(CaffeOptimizer):
    """adam_solver.cpp: beta1 is `momentum`, beta2 `momentum2`; delta is added to sqrt(v) before bias correction.

    The defaults are the proto's: momentum 0 (not 0.9). `iteration` is the 0-based count of updates done, which the
    solver restores from a .solverstate.
    """

    histories = 2

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        momentum: float = 0.0,
        momentum2: float = 0.999,
        delta: float = 1e-8,
        **kw: Any,
    ):
        super().__init__(params, lr, **kw)
        self.momentum, self.momentum2, self.delta = f32(momentum), f32(momentum2), f32(delta)

    @property
    def iteration(self) -> int:
        return self.param_groups[0].get("iteration", 0)

    @iteration.setter
    def iteration(self, value: int) -> None:
        self.param_groups[0]["iteration"] = value

    def _update_values(self, params: list[Tensor], diffs: list[Tensor], rates: list[float]) -> Sequence[Tensor]:
        values = super()._update_values(params, diffs, rates)
        self.iteration += 1
        return values

    def _update_value(self, p: Tensor, diff: Tensor, rate: float) -> Tensor:
        m, v = self._history(p)
        t = self.iteration + 1
        m.mul_(self.momentum).add_(diff * (1 - self.momentum))
        v.mul_(self.momentum2).add_(diff.square() * (1 - self.momentum2))
        correction = (1 - self.momentum2**t) ** 0.5 / (1 - self.momentum**t)
        return m / (v.sqrt() + self.delta) * (rate * correction)
