"""Rebuild golden/data/python_sets: python tools/collect_python_sets.py [REFERENCE].

Golden sets of the Python originals. Kept are cases with an `ok` outcome, no rounding-dependent answer in that dtype, and, for losses
that drop the anchor itself by the value of its similarity, those where that equals dropping it by index: elsewhere the original's
answer depends on the machine's BLAS. (Multi-Similarity drops what is nearer than 1e-5: no such dependence.) Of a larger batch's
gradient three rows are kept and its product with three random vectors. Losses that also take triplets or class proxies
(`WITH_MORE`) have a file of their own; of NormSoftmax those cases are kept whose proxies and their gradient were stored whole.

`sharp.npz` holds further batches of the same programs (and of NCA with its own k) on exact unit vectors, with pairs closely on both
sides of every threshold: there every similarity is exact, so the anchor's own never depends on rounding, and gradients are whole.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]

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


# set -> (folder of the sharp records, words), of those that have no other records
ONLY_SHARP = {"nca": ("bnu-wangxun__Deep_Metric/nca_default", "NCA, constructor default")}


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """np.savez stamps the time of writing: with a fixed one, equal data make an equal file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, value)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)


# set -> (folder of the records, words, signature)
WITH_MORE = {
    "margin": (
        "MalongTech__research-ms-loss/margin_beta_const",
        "Margin loss on given triplets, one beta; c counts non-zero terms",
        "embeddings*, labels, triplets",
    ),
    "margin-class-beta": (
        "MalongTech__research-ms-loss/margin_beta_class",
        "Margin loss on given triplets, a beta per class; c counts non-zero terms",
        "embeddings*, labels, triplets, beta*",
    ),
    "normsoftmax": (
        "azgo14__classification_metric_learning/normsoftmax_t005",
        "normalised softmax, temperature 0.05; the embeddings are used as they are",
        "embeddings*, labels, weights*",
    ),
    "normsoftmax-t1": (
        "azgo14__classification_metric_learning/normsoftmax_t1",
        "normalised softmax, no temperature",
        "embeddings*, labels, weights*",
    ),
}
# what margin_loss.py starts every class's beta from, and how many there are
BETA = np.full(100, 1.2, np.float32)


def usable(entry: dict, equal: dict, self_filter: str | None) -> list[str]:
    """The dtypes in which the original's answer is its own, not the machine's."""
    dtypes = []
    for short, dtype in (("f64", "float64"), ("f32", "float32")):
        result = entry["results"].get(short, {"outcome": "not run"})
        good = result["outcome"] == "ok" and not result["rounding"]["fragile"]
        if good and (self_filter is None or equal[f"{short}_{self_filter}"]):
            dtypes.append(dtype)
    return dtypes


def keep_results(arrays: dict, key: str, record: dict, dtypes: list[str], parts: list[str]) -> None:
    for dtype in dtypes:
        suffix = "_f32" if dtype == "float32" else ""
        arrays[f"{key}:{dtype}:loss"] = record["loss" + suffix]
        for part in parts:
            arrays[f"{key}:{dtype}:{part}"] = record[part + suffix]


def gradient_parts(record: dict, name: str) -> list[str]:
    whole = f"grad_{name}"
    return [whole] if whole in record else [f"{whole}_rows", f"{whole}_probe"]


def facts(entry: dict, what: str, signature: str, cases: dict, file: str) -> dict:
    program = f"{entry['class']} in {entry['file']} of {entry['repo']} at {entry['commit'][:12]}"
    found = {"what": what, "signature": signature, "params": entry["kwargs"], "program": program, "cases": cases}
    return found if file == "sets.npz" else {**found, "file": file}


def plain_sets(folder: Path, manifest: dict, index: dict) -> dict[str, np.ndarray]:
    arrays = {}
    for key, probe in np.load(folder / "inputs" / "probes.npz").items():
        arrays[f"probe:{key}"] = probe
    for name, (config, what, self_filter) in SETS.items():
        entries = [e for e in manifest["entries"] if str(e["path"]).startswith(config + "/")]
        cases = {}
        for entry in entries:
            case = entry["case"]
            size = manifest["inputs"].get(case)
            if size is None or size["N"] * size["D"] > LARGEST:
                continue
            dtypes = usable(entry, size["self_filter_equals_index_exclusion"], self_filter)
            if not dtypes:
                continue
            record, batch = dict(np.load(folder / entry["path"])), np.load(folder / entry["input_file"])
            cases[case] = dtypes
            for key in ("embeddings", "labels"):
                arrays[f"input:{case}:{key}"] = batch[key]
            keep_results(arrays, f"{name}:{case}", record, dtypes, gradient_parts(record, "embeddings"))
            if "grad_embeddings" not in record:
                arrays[f"input:{case}:rows_idx"] = record["grad_embeddings_rows_idx"]
        index[name] = facts(entries[0], what, PLAIN, cases, "sets.npz")
    return arrays


def sets_with_more(folder: Path, manifest: dict, index: dict, file: str) -> dict[str, np.ndarray]:
    arrays = {}
    probes = dict(np.load(folder / "inputs" / "probes.npz"))
    for name, (config, what, signature) in WITH_MORE.items():
        entries = [e for e in manifest["entries"] if str(e["path"]).startswith(config + "/")]
        cases = {}
        for entry in entries:
            case, dtypes = entry["case"], usable(entry, {}, None)
            record = dict(np.load(folder / entry["path"]))
            batch = np.load(folder / entry["input_file"])
            # A record with embeddings of its own (scaled rows) goes before the shared batch.
            inputs = {"embeddings": record.get("embeddings", batch["embeddings"]), "labels": batch["labels"]}
            if (
                not dtypes
                or inputs["embeddings"].size > LARGEST
                or ("weights*" in signature and "grad_weights" not in record)
            ):
                continue
            if "triplets" in signature:
                assert np.array_equal(record["triplets"], record["triplets_f32"])
                inputs["triplets"] = record["triplets"]
            inputs |= {"beta": BETA} if "beta*" in signature else {}
            inputs |= {"weights": record["weights"]} if "weights*" in signature else {}
            cases[case] = dtypes
            for key, array in inputs.items():  # triplets were drawn anew for every loss
                where = f"input:{name}:{case}:{key}" if key == "triplets" else f"input:{case}:{key}"
                assert np.array_equal(arrays.setdefault(where, array), array)
            more = [f"grad_{part.rstrip('*')}" for part in signature.split(", ")[2:] if part.endswith("*")]
            keep_results(arrays, f"{name}:{case}", record, dtypes, [*gradient_parts(record, "embeddings"), *more])
            if "grad_embeddings" not in record:
                arrays[f"input:{case}:rows_idx"] = record["grad_embeddings_rows_idx"]
                dim = f"D{inputs['embeddings'].shape[1]}"
                arrays[f"probe:{dim}"] = probes[dim]
        index[name] = facts(entries[0], what, signature, cases, file)
    return arrays


def sharp_cases(folder: Path, index: dict, file: str) -> dict[str, np.ndarray]:
    """Adds the cases of the sharp batches to the index, under "more": {case: dtypes} with the name of their file."""
    arrays: dict[str, np.ndarray] = {}
    manifest = json.loads((folder / "manifest.json").read_text())
    plain = {name: (config, what) for name, (config, what, _) in SETS.items()}
    for name, (config, what) in {**plain, **ONLY_SHARP}.items():
        entries = [e for e in manifest["entries"] if str(e["path"]).startswith(config + "/")]
        cases = {}
        for entry in entries:
            if not (dtypes := usable(entry, {}, None)):
                continue
            record, batch = dict(np.load(folder / entry["path"])), np.load(folder / entry["input_file"])
            cases[entry["case"]] = dtypes
            for key in ("embeddings", "labels"):
                arrays[f"input:{entry['case']}:{key}"] = batch[key]
            keep_results(arrays, f"{name}:{entry['case']}", record, dtypes, ["grad_embeddings"])
        if name in ONLY_SHARP:
            index[name] = facts(entries[0], what, PLAIN, cases, file)
        elif cases:
            assert index[name]["params"] == entries[0]["kwargs"], name
            index[name]["more"] = {"file": file, "cases": cases}
    return arrays


def main(reference: Path) -> None:
    folder = reference / "python"
    manifest = json.loads((folder / "manifest.json").read_text())
    target = REPO / "golden" / "data" / "python_sets"
    target.mkdir(parents=True, exist_ok=True)
    index: dict = {}
    write_npz(target / "sets.npz", plain_sets(folder, manifest, index))
    more = "triplets_and_proxies.npz"
    write_npz(target / more, sets_with_more(folder, manifest, index, more))
    sharp = "sharp.npz"
    write_npz(target / sharp, sharp_cases(reference / "python_sharp", index, sharp))
    (target / "sets.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    for name, entry in index.items():
        cases = {**entry["cases"], **entry.get("more", {"cases": {}})["cases"]}
        print(f"{name}: {len(cases)} cases, {sum(map(len, cases.values()))} runs")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPO.parent / "shared" / "reference")
