"""PyTorch's own files, read without making the objects of other programs."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from caffe_compat.errors import CaffeFormatError

# How files of torch.save begin: the zip archive of today, the pickle of before version 1.6.
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_OBJECT = re.compile(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)")


def read_pth(path: Path) -> Any:
    """What torch.save wrote, tensors and plain containers alone.

    Raises CaffeFormatError: says whether the file is none of PyTorch's, is damaged, or holds objects of a program.
    """
    with open(path, "rb") as file:
        begins = file.read(8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles' versions: what cannot be read is an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types here, pickle's among them
        raise CaffeFormatError(_words(begins, path.stat().st_size, str(error)), file=path) from None


def _words(begins: bytes, size: int, text: str) -> str:
    if not size:
        return "not a PyTorch weights file: it is empty"
    if (found := _OBJECT.search(text)) is not None:
        return (
            f"holds an object of a program, {found[1]}, which is not made here; where it came from, save its tensors alone: "
            "torch.save(model.state_dict(), FILE)"
        )
    if begins.startswith(_ZIP):
        return f"a PyTorch file or another zip archive, and damaged or cut off: it has {size:,} bytes"
    if begins.startswith(_PICKLE):
        return "a pickle, but not of tensors as torch.save writes them"
    return f"not a PyTorch weights file: it begins with {begins!r}"
