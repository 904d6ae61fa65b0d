"""Losses of the ported papers, one per file; importing the package imports none of them (nor torch)."""

from __future__ import annotations

from importlib import import_module

# Public name -> module. Listed by hand; `from ports.losses import X` loads only X's module.
_MODULES = {
    "RankedListLoss": "ranked_list",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
