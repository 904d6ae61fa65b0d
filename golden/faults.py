"""An exception of somebody else's code in one line."""

from __future__ import annotations

import re
import traceback


def where(error: BaseException) -> str:
    """`ValueError: message (file.py:12)`, the innermost frame outside the frameworks and this package."""
    here = __file__.removesuffix("faults.py")
    others = ("/torch/", "/jax/", "/jaxlib/", "/tensorflow/", "/keras/", "/importlib/", "<frozen", "__autograph_", here)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(o in f.filename for o in others)]
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    text = str(error)
    if text.startswith(
        "in user code:"
    ):  # tf.function quotes a traceback of the code it was made from: its last line is the error
        quoted = re.findall(r'File "([^"]+)", line (\d+)', text)
        place = f" ({quoted[-1][0].rsplit('/', 1)[-1]}:{quoted[-1][1]})" if quoted else place
        text = text.strip().splitlines()[-1].strip().removeprefix(f"{type(error).__name__}: ")
    text = " ".join(text.split())
    return f"{type(error).__name__}: {text[:200]}{place}"
