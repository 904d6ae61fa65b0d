"""Copies what the link "whole steps on the letters" needs from the recordings of the authors' programs.

    python tools/collect_letter_steps.py ../shared/reference/letters golden/data/letters

Kept of each recipe: pictures and hashes of the first batches, a hash over the initial parameters, losses, samples of
parameters and momentum after step 1, hits of the initial features, and of float32's evaluations (a free run's: drawn beside ours, held to nothing).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

STEPS = {"rll-sop": 3, "osm-cub-bbox": 8}  # within these float64 losses follow the authors' to 1e-9


def collect(source: Path, target: Path, steps: int) -> None:
    recorded = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    trace = np.load(source / "trace.npz")
    initial = "\n".join(f"{name} {digest}" for name, digest in sorted(recorded["initial_sha256"].items()))
    kept = {key: recorded[key] for key in ("recipe", "source", "dialect", "seed", "loss_tops", "toolchain")}
    kept["letters_sha256"] = recorded["letters"]["content_sha256"]
    kept["initial_sha256"] = hashlib.sha256(initial.encode()).hexdigest()
    kept["steps"] = [
        {key: step[key] for key in ("paths", "labels", "images_sha256")} for step in recorded["steps"][:steps]
    ]
    kept["blobs"] = [f"{blob['layer']}:{blob['blob']}" for blob in recorded["learnable"]]
    first = recorded["runs"].get("f32", {}).get("hits", {}).get("0")
    if first is not None:
        kept["initial_hits"] = first
        kept["hits"] = {"queries": len(recorded["test"]["labels"]), **recorded["runs"]["f32"]["hits"]}
        kept["calibration"] = recorded["calibration"]["paths"]
        kept["test"] = {key: recorded["test"][key] for key in ("paths", "labels", "images_sha256")}
    arrays = {}
    for dtype, kind in (("f64", np.float64), ("f32", np.float32)):
        if f"{dtype}/losses" in trace:
            # The first of several runs of float32 alone: they part from the second step on by themselves.
            arrays[f"{dtype}/losses"] = trace[f"{dtype}/losses"][: steps if dtype == "f64" else 1]
            arrays[f"{dtype}/parameters"] = trace[f"{dtype}/p_sample_1"].astype(kind)
            arrays[f"{dtype}/momentum"] = trace[f"{dtype}/h_sample_1"].astype(kind)
    target.mkdir(parents=True, exist_ok=True)
    (target / "manifest.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(target / "steps.npz", **arrays)


if __name__ == "__main__":
    for name, count in STEPS.items():
        collect(Path(sys.argv[1]) / name, Path(sys.argv[2]) / name, count)
