"""Which framework a loss of Keras is of, and what an error that tf.function quotes is; with stand-ins, as neither is installed here."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from golden.faults import where
from golden.frameworks import framework_of


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SimpleNamespace(backend=lambda: "torch"), "torch"),
        (SimpleNamespace(backend=lambda: "jax"), "jax"),
        (SimpleNamespace(backend=lambda: "openvino"), "tensorflow"),  # nothing that golden runs
        (None, "tensorflow"),  # Keras 2
    ],
)
def test_keras_is_of_the_framework_that_it_runs_on(monkeypatch, config, expected):
    keras = ModuleType("keras")
    if config is not None:
        keras.config = config
    monkeypatch.setitem(sys.modules, "keras", keras)
    scope = {"keras": keras}
    exec("def loss(x, y):\n    return keras.mean(x)", scope)  # noqa: S102 - a module of its own, that imports Keras alone
    assert framework_of(scope["loss"]) == expected


def test_the_error_in_a_quoted_traceback():
    quoted = 'in user code:\n\n    File "/a/distances.py", line 170, in call  *\n        root * mask\n\n    TypeError: float32, not float64.\n'
    assert where(TypeError(quoted)) == "TypeError: float32, not float64. (distances.py:170)"
