"""Read, run, train and write what Caffe and MATLAB wrote.

The public names below are imported on first use, so that `import caffe_compat` loads neither torch nor protobuf.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "CaffeFormatError": "errors",
    "DialectError": "errors",
    "UnsupportedLayerError": "errors",
    "read_net": "formats.prototxt",
    "read_solver": "formats.prototxt",
    "filter_net": "formats.prototxt",
    "upgrade_net": "formats.prototxt",
    "read_caffemodel": "formats.caffemodel",
    "write_caffemodel": "formats.caffemodel",
    "read_solverstate": "formats.solverstate",
    "write_solverstate": "formats.solverstate",
    "read_binaryproto": "formats.binaryproto",
    "write_binaryproto": "formats.binaryproto",
    "load_split": "matlab.lists",
    "save_split": "matlab.lists",
    "load_net": "net.caffe_net",
    "CaffeNet": "net.caffe_net",
    "Solver": "solver.caffe_solver",
    "CaffeSGD": "solver.optim",
    "load_bn_inception": "bn_inception",
}
__all__ = sorted(_NAMES)

if TYPE_CHECKING:
    from caffe_compat.errors import CaffeFormatError as CaffeFormatError
    from caffe_compat.errors import DialectError as DialectError
    from caffe_compat.errors import UnsupportedLayerError as UnsupportedLayerError


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
