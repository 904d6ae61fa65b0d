"""How a loss is run in the framework it is written in: torch, JAX, TensorFlow, or plain NumPy.

Each module here has `run(loss, arguments, dtype, device, upstream, outputs, outcome)`, which fills in loss, gradients and
outputs as float64 arrays; `Problem` says in words why there are none. None is imported before it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

NAMES = ("torch", "jax", "tensorflow", "numpy")
# top-level module -> framework that a loss importing it is written in
_BELONGS = {
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "flax": "jax",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",  # or what it was told to run on
}


class Problem(Exception):
    """Why a loss gives nothing to compare, as a row of the report says it."""


def runner(name: str) -> Callable[..., None]:
    """The `run` of a framework; Problem where it is not installed."""
    if name not in NAMES:
        raise ValueError(f"unknown framework {name!r}; there are {', '.join(NAMES)}")
    if find_spec(name) is None:
        raise Problem(f"{name} is not installed; a NumPy loss returns (value, gradient)")
    run: Callable[..., None] = import_module(f".with_{name}", __name__).run
    return run


def framework_of(loss: Any) -> str:
    """What a loss is written in: what it says itself (`golden_framework`), else what its module imports; torch before others.

    Where nothing tells (a lambda that only uses methods of its arguments): torch if it is loaded, else NumPy.
    """
    found = _frameworks(loss, depth=4)
    if found:
        return next(name for name in NAMES if name in found)
    return "torch" if "torch" in sys.modules else "numpy"


def _frameworks(loss: Any, depth: int) -> set[str]:
    """Frameworks of the module that a function or an object's class is from; of what it wraps, where it wraps something."""
    said = getattr(loss, "golden_framework", None)
    if said is not None:
        return {str(said)}
    if depth == 0 or loss is None:
        return set()
    inner = [getattr(loss, "func", None), getattr(loss, "__wrapped__", None), getattr(loss, "__self__", None)]
    for cell in getattr(loss, "__closure__", None) or ():
        try:
            inner.append(cell.cell_contents if callable(cell.cell_contents) else None)
        except ValueError:  # a cell that is still empty
            continue
    found = set().union(*(_frameworks(item, depth - 1) for item in inner if item is not loss))
    if found:
        return found
    scopes: list[dict[str, Any]] = [loss.__globals__] if hasattr(loss, "__globals__") else []
    if not scopes:
        kinds = type(loss).__mro__ if not isinstance(loss, type) else loss.__mro__
        scopes = [vars(sys.modules[k.__module__]) for k in kinds if k.__module__ in sys.modules]
    tops = {_top(value) for scope in scopes for value in list(scope.values())}
    return {_keras_on() if top == "keras" else _BELONGS[top] for top in tops if top in _BELONGS}


def _keras_on() -> str:
    """The framework that Keras runs on here: Keras 3 is told (KERAS_BACKEND), before it TensorFlow."""
    backend = getattr(getattr(sys.modules.get("keras"), "config", None), "backend", None)
    name = str(backend()) if callable(backend) else ""
    return name if name in NAMES else _BELONGS["keras"]


def _top(value: Any) -> str:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return name.split(".")[0] if isinstance(name, str) else ""


def unpack(
    result: Any, outputs: tuple[str, ...], is_array: Callable[[Any], bool], notes: list[str]
) -> tuple[Any, dict[str, Any]]:
    """(value, further outputs by name) in what the callable returned.

    A tuple's items are the value and then the outputs in order, a dict has "loss", an object .loss; further outputs of the
    names asked for are looked up beside it. Problem for an output that is missing.
    """
    value: Any = result
    rest: dict[str, Any] = {}
    note = ""
    if is_array(result):
        pass
    elif isinstance(result, dict) and is_array(result.get("loss")):
        value, rest, note = result["loss"], result, 'took "loss" of the returned dict'
    elif is_array(getattr(result, "loss", None)):
        value, note = result.loss, "took .loss of the returned object"
        rest = {name: getattr(result, name, None) for name in outputs}
    elif isinstance(result, tuple | list) and result and is_array(result[0]):
        value, rest, note = result[0], dict(zip(outputs, result[1:])), "took the first of the returned values"
    else:
        return result, {}
    if note and not outputs:
        notes.append(note)
    missing = [name for name in outputs if rest.get(name) is None]
    if missing:
        words = ", ".join(missing)
        raise Problem(f"the set compares {words} too: return (loss, {words}), a dict or an object with these names")
    return value, {name: rest[name] for name in outputs}
