"""Rebuild golden/data/losses_caffe from the full set of records: python tools/collect_losses_caffe.py [REFERENCE].

`cases.json` lists every recorded case of the paper losses with its hyper-parameters; `cases.npz` holds the arrays of the
small ones (inputs once, outputs per dtype) so that a clone without the full set can check itself.
"""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]

LARGEST = 30_000  # bytes of one case in float64

PREFIXES = ("DistanceWeighted", "Contrastive", "Weighted", "OHPM", "Triplet", "UnifiedWeight")
OTHERS = ("ExtractProb", "Gaussian", "CAAChain")
FIELDS = {  # field of the prototxt -> keyword of the loss
    "contrastive_loss_param": {"margin": "margin", "legacy_version": "legacy_version"},
    "contrastive_loss_param_v2": {
        "margin": "margin",
        "negative_threshold": "negative_threshold",
        "pn_margin": "pn_margin",
        "legacy_version": "legacy_version",
    },
    "softmax_t_p_param": {"scale": "T_p"},
    "softmax_t_n_param": {"scale": "T_n"},
    "gaussian_param": {"sigma": "sigma", "mean": "mean"},
    "triplet_loss_param": {"margin": "margin"},
    "loss_param": {"ignore_label": "ignore_label", "lamda_p": "lamda_p", "scale": "scale"},
}


def hyper_parameters(layer_param: str) -> dict:
    """Keyword -> value of what the layer's prototxt sets."""
    found = {}
    for message, body in re.findall(r"(\w+)\s*\{([^}]*)\}", layer_param):
        for field, value in re.findall(r"(\w+):\s*(\S+)", body):
            found[FIELDS[message][field]] = json.loads(value)
    return found


def main(reference: Path) -> None:
    folder = reference / "layers"
    listed, arrays = {}, {}
    for case in json.loads((folder / "manifest.json").read_text())["cases"]:
        if not case["layer"].startswith(PREFIXES) and case["layer"] not in OTHERS:
            continue
        name = "/".join((case["tree"], case["layer"], case["case"]))
        is_chain = case["layer"] == "CAAChain"
        entry = listed.setdefault(name, {"layer_param": case["layer_param"], "files": {}})
        entry["params"] = {} if is_chain else hyper_parameters(case["layer_param"])
        entry["files"][case["dtype"]] = case["file"]
        with np.load(folder / case["file"]) as npz:
            values = dict(npz)
        if case["dtype"] == "float64":
            entry["stored"] = sum(v.nbytes for v in values.values()) <= LARGEST
        for key, value in values.items():
            is_input = key in ("logits", "label") or re.fullmatch(r"bottom_\d", key)
            arrays[f"{name}:{'input' if is_input else case['dtype']}:{key}"] = value
    arrays = {k: v for k, v in arrays.items() if listed[k.split(":")[0]]["stored"]}
    target = REPO / "golden" / "data" / "losses_caffe"
    target.mkdir(parents=True, exist_ok=True)
    (target / "cases.json").write_text(json.dumps(listed, indent=1) + "\n")
    # np.savez stamps the time of writing: with a fixed one, equal data make an equal file.
    with zipfile.ZipFile(target / "cases.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, value)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)
    print(f"{len(listed)} cases, {sum(e['stored'] for e in listed.values())} with arrays, in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPO.parent / "shared" / "reference")
