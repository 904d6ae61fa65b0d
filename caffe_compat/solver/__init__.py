"""Caffe's solvers and learning-rate policies. The classes are imported on first use: a policy needs no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {"CaffeSGD": "optim", "Solver": "caffe_solver"}
__all__ = sorted(_NAMES)

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers
    from caffe_compat.solver.caffe_solver import Solver as Solver
    from caffe_compat.solver.optim import CaffeSGD as CaffeSGD


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value
