"""An exception of somebody else's code in one line."""

from __future__ import annotations

import traceback


def where(error: BaseException) -> str:
    """`ValueError: message (file.py:12)`, the innermost frame outside the frameworks and this package."""
    here = __file__.removesuffix("faults.py")
    others = ("/torch/", "/jax/", "/jaxlib/", "/tensorflow/", "/keras/", "/importlib/", "<frozen", here)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(o in f.filename for o in others)]
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{place}"
