"""Rebuild golden/data/python_sets: python tests/golden/collect_python_sets.py [REFERENCE].

Golden sets of the Python originals. Kept are cases with an `ok` outcome, no rounding-dependent answer in that dtype, and, for losses that drop the anchor itself by the value of its similarity, those where that equals dropping it by
index: elsewhere the original's answer depends on the machine's BLAS. (Multi-Similarity drops what is nearer than 1e-5: no such
dependence.) Of a larger batch's gradient three rows are kept and its product with three random vectors.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[2]
PLAIN = "embeddings*, labels"
LARGEST = 12_000  # numbers in a batch

# set -> (folder of the records, words, filter of the anchor itself: key of `self_filter_equals_index_exclusion`)
SETS = {
    "ms": ("MalongTech__research-ms-loss/ms_default", "Multi-Similarity loss with its miner, repository default", None),
    "ms-paper": ("MalongTech__research-ms-loss/ms_paper", "Multi-Similarity loss, the paper's values", None),
    "contrastive-deep-metric": ("bnu-wangxun__Deep_Metric/contrastive_default", "contrastive loss on similarities", "lt1"),
    "binomial": ("bnu-wangxun__Deep_Metric/binomial_default", "binomial deviance, constructor default", "lt1"),
    "binomial-train": ("bnu-wangxun__Deep_Metric/binomial_train", "binomial deviance, train.py's value", "lt1"),
    "binomial-mined": ("bnu-wangxun__Deep_Metric/binomial_mined", "binomial deviance, mined", "lt1"),
    "lifted": ("bnu-wangxun__Deep_Metric/lifted_default", "lifted structure, Deep_Metric's form", "lt1"),
    "lifted-mined": ("bnu-wangxun__Deep_Metric/lifted_mined", "lifted structure, mined", "lt1"),
    "hard-mining": ("bnu-wangxun__Deep_Metric/hardmining_default", "hard mining", "lt1"),
    "nca-k5": ("bnu-wangxun__Deep_Metric/nca_k5", "NCA on the five least similar", "lt1"),
    "semi-hard": ("bnu-wangxun__Deep_Metric/semihard_a40_b2", "semi-hard, as reconstructed", None),
    "triplet-hard-mining": ("bnu-wangxun__Deep_Metric/triplet_hardmining_m01", "hard mining with a margin", None),
    "batch-all": ("bnu-wangxun__Deep_metric/batchall_m02", "all triplets of a batch", None),
    "weight": ("bnu-wangxun__Deep_metric/weight_default", "the weighting loss", "lt1"),
    "weight-mined": ("bnu-wangxun__Deep_metric/weight_mined", "the weighting loss, mined", "lt1"),
    "rll-library": ("peers_pml/rll_full", "Ranked List Loss of pytorch-metric-learning, T_p 4, rows used as they are", None),
    "ms-library": ("peers_pml/ms_default", "Multi-Similarity loss of pytorch-metric-learning, its default", None),
}  # fmt: skip


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """np.savez stamps the time of writing: with a fixed one, equal data make an equal file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, value)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)


def main(reference: Path) -> None:
    folder = reference / "python"
    manifest = json.loads((folder / "manifest.json").read_text())
    target = REPO / "golden" / "data" / "python_sets"
    target.mkdir(parents=True, exist_ok=True)
    index, arrays = {}, {}
    for key, probe in np.load(folder / "inputs" / "probes.npz").items():
        arrays[f"probe:{key}"] = probe
    for name, (config, what, self_filter) in SETS.items():
        entries = [e for e in manifest["entries"] if str(e["path"]).startswith(config + "/")]
        cases = {}
        for entry in entries:
            case = entry["case"]
            if (
                case not in manifest["inputs"]
                or manifest["inputs"][case]["N"] * manifest["inputs"][case]["D"] > LARGEST
            ):
                continue
            compact = entry["grad_storage"] != "full"
            equal = manifest["inputs"][case]["self_filter_equals_index_exclusion"]
            dtypes = []
            for short, dtype in (("f64", "float64"), ("f32", "float32")):
                result = entry["results"].get(short, {"outcome": "not run"})
                usable = result["outcome"] == "ok" and not result["rounding"]["fragile"]
                if usable and (self_filter is None or equal[f"{short}_{self_filter}"]):
                    dtypes.append(dtype)
            if not dtypes:
                continue
            record, batch = np.load(folder / entry["path"]), np.load(folder / entry["input_file"])
            cases[case] = dtypes
            for key in ("embeddings", "labels"):
                arrays[f"input:{case}:{key}"] = batch[key]
            for dtype in dtypes:
                suffix = "_f32" if dtype == "float32" else ""
                arrays[f"{name}:{case}:{dtype}:loss"] = record["loss" + suffix]
                for part in ("_rows", "_probe") if compact else ("",):
                    arrays[f"{name}:{case}:{dtype}:grad_embeddings{part}"] = record[f"grad_embeddings{part}{suffix}"]
            if compact:
                arrays[f"input:{case}:rows_idx"] = record["grad_embeddings_rows_idx"]
        first = entries[0]
        index[name] = {
            "what": what,
            "signature": PLAIN,
            "params": first["kwargs"],
            "program": f"{first['class']} in {first['file']} of {first['repo']} at {first['commit'][:12]}",
            "cases": cases,
        }
        print(f"{name}: {len(cases)} cases, {sum(map(len, cases.values()))} runs")
    write_npz(target / "sets.npz", arrays)
    (target / "sets.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPO.parent / "shared" / "reference")
