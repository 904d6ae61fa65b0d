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

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers
    from caffe_compat.bn_inception import load_bn_inception as load_bn_inception
    from caffe_compat.errors import CaffeFormatError as CaffeFormatError
    from caffe_compat.errors import DialectError as DialectError
    from caffe_compat.errors import UnsupportedLayerError as UnsupportedLayerError
    from caffe_compat.formats.binaryproto import read_binaryproto as read_binaryproto
    from caffe_compat.formats.binaryproto import write_binaryproto as write_binaryproto
    from caffe_compat.formats.caffemodel import read_caffemodel as read_caffemodel
    from caffe_compat.formats.caffemodel import write_caffemodel as write_caffemodel
    from caffe_compat.formats.prototxt import filter_net as filter_net
    from caffe_compat.formats.prototxt import read_net as read_net
    from caffe_compat.formats.prototxt import read_solver as read_solver
    from caffe_compat.formats.prototxt import upgrade_net as upgrade_net
    from caffe_compat.formats.solverstate import read_solverstate as read_solverstate
    from caffe_compat.formats.solverstate import write_solverstate as write_solverstate
    from caffe_compat.matlab.lists import load_split as load_split
    from caffe_compat.matlab.lists import save_split as save_split
    from caffe_compat.net.caffe_net import CaffeNet as CaffeNet
    from caffe_compat.net.caffe_net import load_net as load_net
    from caffe_compat.solver.caffe_solver import Solver as Solver
    from caffe_compat.solver.optim import CaffeSGD as CaffeSGD


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
