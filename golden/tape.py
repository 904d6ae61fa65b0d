"""Derivatives of NumPy programs: arrays that remember what they were computed from (reverse mode).

Just the operations that the plain references need, so that the wrong ports, the sharpness table and the diagnosis work where
no torch is installed. `Var` wraps a float64 array; every operation on one gives another; `gradients` walks back.
Comparisons give plain boolean arrays, `detach` the plain array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pull = Callable[[np.ndarray], np.ndarray]


class Var:
    """An array and, for each parent it depends on, how a gradient by it becomes one by that parent."""

    __slots__ = ("parents", "value")
    __array_ufunc__ = None  # `array * var` is then left to Var.__rmul__

    def __init__(self, value: Any, parents: Sequence[tuple[Var, Pull]] = ()) -> None:
        self.value = np.asarray(value, np.float64)
        self.parents = tuple(parents)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __len__(self) -> int:
        return len(self.value)

    def __add__(self, other: Any) -> Var:
        return _binary(self, other, np.add, lambda g, a, b: g, lambda g, a, b: g)

    def __sub__(self, other: Any) -> Var:
        return _binary(self, other, np.subtract, lambda g, a, b: g, lambda g, a, b: -g)

    def __rsub__(self, other: Any) -> Var:
        return _binary(other, self, np.subtract, lambda g, a, b: g, lambda g, a, b: -g)

    def __mul__(self, other: Any) -> Var:
        return _binary(self, other, np.multiply, lambda g, a, b: g * b, lambda g, a, b: g * a)

    def __truediv__(self, other: Any) -> Var:
        return _divided(self, other)

    def __rtruediv__(self, other: Any) -> Var:
        return _divided(other, self)

    def __matmul__(self, other: Any) -> Var:
        return _binary(self, other, np.matmul, lambda g, a, b: g @ b.T, lambda g, a, b: a.T @ g)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Var:
        return Var(-self.value, [(self, lambda g: -g)])

    def __getitem__(self, index: Any) -> Var:
        def pull(g: np.ndarray) -> np.ndarray:
            whole = np.zeros(self.shape)
            np.add.at(whole, index, g)
            return whole

        return Var(self.value[index], [(self, pull)])

    def __lt__(self, other: Any) -> np.ndarray:
        return self.value < detach(other)

    def __gt__(self, other: Any) -> np.ndarray:
        return self.value > detach(other)

    def __ge__(self, other: Any) -> np.ndarray:
        return self.value >= detach(other)

    @property
    def T(self) -> Var:
        return Var(self.value.T, [(self, lambda g: g.T)])

    def reshape(self, *shape: int) -> Var:
        return Var(self.value.reshape(*shape), [(self, lambda g: g.reshape(self.shape))])

    def sum(self, axis: int | None = None, keepdims: bool = False) -> Var:
        def pull(g: np.ndarray) -> np.ndarray:
            return np.broadcast_to(g if axis is None or keepdims else np.expand_dims(g, axis), self.shape)

        return Var(self.value.sum(axis=axis, keepdims=keepdims), [(self, pull)])

    def mean(self, axis: int | None = None) -> Var:
        return self.sum(axis) / (self.value.size if axis is None else self.shape[axis])

    def square(self) -> Var:
        return Var(np.square(self.value), [(self, lambda g: 2 * self.value * g)])

    def sqrt(self) -> Var:
        root = np.sqrt(self.value)
        return Var(root, [(self, lambda g: g / (2 * root))])

    def exp(self) -> Var:
        value = np.exp(self.value)
        return Var(value, [(self, lambda g: g * value)])

    def log(self) -> Var:
        return Var(np.log(self.value), [(self, lambda g: g / self.value)])

    def clamp(self, minimum: float) -> Var:
        """No less than `minimum`. Where it binds, no gradient; at equality the whole one, as torch has it."""
        return Var(np.maximum(self.value, minimum), [(self, lambda g: g * (self.value >= minimum))])


def detach(value: Any) -> np.ndarray:
    """The plain array; what is none already comes back as it is."""
    return value.value if isinstance(value, Var) else np.asarray(value)


def where(condition: Any, first: Any, second: Any) -> Var:
    """Elementwise choice. Gradients go to the chosen side only."""
    return _binary(
        first, second, lambda a, b: np.where(condition, a, b),
        lambda g, a, b: np.where(condition, g, 0.0), lambda g, a, b: np.where(condition, 0.0, g),
    )  # fmt: skip


def normalize(x: Any) -> Var:
    """Rows over max(their length, 1e-12)."""
    length = safe_root(where(True, x, 0.0).square().sum(-1, keepdims=True))
    return x / where(length > 1e-12, length, 1e-12)


def safe_root(squared: Var) -> Var:
    """Square root with gradient 0 (not infinite) at 0."""
    above = squared > 0
    return where(above, where(above, squared, 1.0).sqrt(), 0.0)


def log_sum_exp(x: Var, mask: np.ndarray) -> Var:
    """(N,) log of the sum of e^x over the masked entries of a row; -inf for a row without any."""
    top = np.where(mask, x.value, -np.inf).max(1, initial=-np.inf, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return where(mask, where(mask, x - top, 0.0).exp(), 0.0).sum(1).log() + top[:, 0]


def softplus(x: Var) -> Var:
    """log(1 + e^x), without overflow."""
    value = x.value
    return Var(np.logaddexp(0, value), [(x, lambda g: g * np.exp(-np.logaddexp(0, -value)))])


def gradients(result: Any, leaves: Sequence[Var]) -> list[np.ndarray]:
    """Derivative of a result of one element by each leaf; zeros for one it does not depend on."""
    found: dict[int, np.ndarray] = {}
    if isinstance(result, Var):
        found[id(result)] = np.ones(result.shape)
        for node in reversed(_ordered(result)):
            gradient = found.get(id(node)) if not node.parents else found.pop(id(node), None)
            if gradient is None:
                continue
            for parent, pull in node.parents:
                part = _summed_to(pull(gradient), parent.shape)
                found[id(parent)] = found[id(parent)] + part if id(parent) in found else part
    return [found.get(id(leaf), np.zeros(leaf.shape)) for leaf in leaves]


def _ordered(result: Var) -> list[Var]:
    """Everything the result depends on, parents before children; without recursion."""
    order: list[Var] = []
    seen: set[int] = set()
    stack: list[tuple[Var, bool]] = [(result, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.parents)
    return order


def _divided(first: Any, second: Any) -> Var:
    return _binary(first, second, np.divide, lambda g, a, b: g / b, lambda g, a, b: -g * a / (b * b))


def _binary(first: Any, second: Any, forward: Any, by_first: Any, by_second: Any) -> Var:
    a, b = detach(first), detach(second)
    parents: list[tuple[Var, Pull]] = []
    if isinstance(first, Var):
        parents.append((first, lambda g: by_first(g, a, b)))
    if isinstance(second, Var):
        parents.append((second, lambda g: by_second(g, a, b)))
    return Var(forward(a, b), parents)


def _summed_to(gradient: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undo broadcasting."""
    if gradient.shape == shape:
        return gradient
    gradient = gradient.sum(tuple(range(gradient.ndim - len(shape))))
    axes = tuple(k for k, size in enumerate(shape) if size == 1 and gradient.shape[k] != 1)
    return np.broadcast_to(gradient.sum(axes, keepdims=True), shape)
