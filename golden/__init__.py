"""Reference numbers (golden/data), the regression checker, and the published values. Importing it loads no torch.

    import golden
    report = golden.check(MyLoss(), against="rll-cvpr19")
    print(report)

Public: `check`, `sweep`, `identify`, `diagnose`, `record`, `load_set`, `set_names`, `Report`, `adapters`; see docs/golden.md.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

DATA = Path(__file__).with_name("data")

# Public name -> module. A plain import of the package stays below 0.1 s because none of them is loaded before its use.
_MODULES = {
    "check": "checker",
    "sweep": "checker",
    "identify": "ranking",
    "diagnose": "diagnosis",
    "record": "records",
    "load_set": "sets",
    "set_names": "sets",
    "Report": "report",
}

__all__ = ["DATA", "adapters", *_MODULES]

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers
    from . import adapters as adapters
    from .checker import check as check
    from .checker import sweep as sweep
    from .diagnosis import diagnose as diagnose
    from .ranking import identify as identify
    from .records import record as record
    from .report import Report as Report
    from .sets import load_set as load_set
    from .sets import set_names as set_names


def __getattr__(name: str) -> object:
    if name == "adapters":
        return import_module(".adapters", __name__)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), "adapters", *_MODULES])
