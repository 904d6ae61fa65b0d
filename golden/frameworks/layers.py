"""What adapters put between the embeddings and a loss, in the loss's framework; of NumPy losses the gradient is led back through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from .numpy_values import split


@dataclass(frozen=True)
class Layer:
    """`forward(x)` in any framework; `backward(x, gradient by the layer's output)`, of NumPy arrays, gives that by x."""

    forward: Callable[[Any], Any]
    backward: Callable[[np.ndarray, np.ndarray], np.ndarray]


def through(
    framework: str, layer: Layer, loss: Callable[..., Any], x: Any, *rest: Any, signs: tuple[int, ...] = (1,)
) -> Any:
    """loss(layer(x), *rest). What a NumPy loss returns as its (first) gradient is made one by x: one for each of `signs`, which x
    is a sum of (x = a - b: 1 and -1).
    """
    result = loss(layer.forward(x), *rest)
    if framework != "numpy":
        return result
    names = tuple(k for k in result if k not in ("loss", "gradient")) if isinstance(result, dict) else ()
    value, gradients, more = split(result, names)
    if gradients is None:
        return result
    by_x = layer.backward(x, np.asarray(gradients[0]))
    led_back = (*(sign * by_x for sign in signs), *gradients[1:])
    return {"loss": value, "gradient": led_back, **more} if isinstance(result, dict) else (value, led_back)


def _transposed(x: Any) -> Any:
    return import_module("tensorflow").transpose(x) if type(x).__module__.startswith("tensorflow") else x.T


SIMILARITIES = Layer(lambda x: x @ _transposed(x), lambda x, g: (g + g.T) @ x)


def normalisation(framework: str) -> Layer:
    """Rows divided by their Euclidean length (at least 1e-12)."""

    def backward(x: np.ndarray, g: np.ndarray) -> np.ndarray:
        length = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        unit = x / length
        return (g - unit * (unit * g).sum(1, keepdims=True)) / length

    def forward(x: Any) -> Any:
        if framework == "torch":
            return import_module("torch").nn.functional.normalize(x)
        if framework == "tensorflow":
            return import_module("tensorflow").math.l2_normalize(x, 1, epsilon=1e-24)
        array = _arrays(framework)
        # The root of the clamped sum: that of a zero row has a derivative.
        return x / array.sqrt(array.maximum((x * x).sum(1, keepdims=True), 1e-24))

    return Layer(forward, backward)


def distances(framework: str) -> Layer:
    """(N, N) Euclidean distances, with derivative 0 between equal rows."""

    def backward(x: np.ndarray, g: np.ndarray) -> np.ndarray:
        difference = x[:, None] - x[None]
        length = np.sqrt(np.square(difference).sum(-1))
        pull = np.where(length > 0, (g + g.T) / np.where(length > 0, length, 1), 0)
        return (pull[:, :, None] * difference).sum(1)

    return Layer(lambda x: _lengths(framework, x[:, None] - x[None]), backward)


def lengths(framework: str) -> Layer:
    """(N,) Euclidean lengths of rows, with derivative 0 at a row of zeros."""

    def backward(x: np.ndarray, g: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(x, axis=1)
        return np.where(length > 0, g / np.where(length > 0, length, 1), 0)[:, None] * x

    return Layer(lambda x: _lengths(framework, x), backward)


def _lengths(framework: str, x: Any) -> Any:
    """Of the last axis; the root of a zero is not taken, so that it has a derivative."""
    array = _arrays(framework)
    squared = import_module("tensorflow").reduce_sum(x**2, -1) if framework == "tensorflow" else (x**2).sum(-1)
    away = squared > 0
    root = array.sqrt(array.where(away, squared, array.ones_like(squared)))
    return array.where(away, root, array.zeros_like(root))


def _arrays(framework: str) -> Any:
    """The module with `where`, `sqrt`, ... of a framework."""
    return import_module({"jax": "jax.numpy"}.get(framework, framework))
