"""Copy a few recorded cases of the Python originals' losses into golden/data, for clones without the full reference.

    python tools/collect_losses_python.py REFERENCE_FOLDER

Per loss: the cases of CASES whose float64 run is ok and not fragile, with inputs, loss and gradients of that run.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
DATA = REPO / "golden" / "data"

# 2 x 2 and 30 x 5 in the plane, 8 x 4, a class of one, class sizes 2 and 6.
CASES = ("g01", "g03", "g05", "g06", "g16")
OUT = DATA / "losses_python" / "cases.npz"
KEPT = ("loss", "triplets", "weights")


def collect(reference: Path) -> dict[str, np.ndarray]:
    spec = importlib.util.spec_from_file_location(
        "recorded", REPO / "tests" / "ports" / "losses" / "test_python_recorded.py"
    )
    assert spec and spec.loader
    recorded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recorded)
    python = reference / "python"
    out: dict[str, np.ndarray] = {}
    for name in recorded.LOSSES:
        for entry in recorded.entries_of(python, name):
            case = entry["case"]
            if case[:3] not in CASES or not recorded.usable(entry, "f64"):
                continue
            arrays = recorded.load_case(python, entry)
            out[f"inputs/{case}/embeddings"], out[f"inputs/{case}/labels"] = arrays["embeddings"], arrays["labels"]
            for key, value in arrays.items():
                if not key.endswith("_f32") and (key in KEPT or key.startswith("grad_")):
                    out[f"{name}/{case}/{key}"] = value
    return out


if __name__ == "__main__":
    OUT.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OUT, **collect(Path(sys.argv[1])))
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} KiB")
