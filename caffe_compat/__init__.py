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
    "read_net": "prototxt",
    "read_solver": "prototxt",
    "filter_net": "prototxt",
    "upgrade_net": "prototxt",
    "read_caffemodel": "caffemodel",
    "write_caffemodel": "caffemodel",
    "read_solverstate": "solverstate",
    "write_solverstate": "solverstate",
    "read_binaryproto": "binaryproto",
    "write_binaryproto": "binaryproto",
    "load_split": "matfile",
    "save_split": "matfile",
    "load_net": "net",
    "CaffeNet": "net",
    "Solver": "solver",
    "CaffeSGD": "optim",
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
