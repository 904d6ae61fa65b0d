"""Import torchvision where its compiled operators cannot load.

torchvision's PyPI wheels link against CUDA libraries. Beside a CPU-only torch the library fails to load silently, and
torchvision then registers fake kernels for two operators (`nms`, `qnms`) that were never declared, which raises at
import. Declaring the two schemas first is enough: models and transforms work, the compiled operators themselves
(`ops.nms`, `ops.roi_align`, `io.decode_jpeg`) stay unavailable. Where torchvision imports as it is, nothing is done.

This is the one place that knows about it: write `from ports.torchvision_compat import torchvision`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_keep_alive: list[torch.library.Library] = []  # the schemas vanish when the Library object is collected


def _import_torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _keep_alive.append(library)
    return importlib.import_module("torchvision")


torchvision = _import_torchvision()
