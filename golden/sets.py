"""Golden sets: one loss at one setting, as batches with the values and gradients that the authors' program computed.

Needs NumPy only.
"""

from __future__ import annotations

import difflib
import io
import re
from functools import cache
from typing import Any

import numpy as np

from .cases import Argument, Case, Expected, GoldenSet
from .contributed import assemble, checked
from .integrity import digests, read_bytes, read_json

_PLAIN = "embeddings*, labels"
_SCORED = "embeddings*, labels, scores"
_V12 = "DistanceWeightedValidPairLossV12"
_FORK = {
    "rll_cvpr19": "CaffeMex_v2 with the layers of the CVPR 2019 release (Ranked-List-Loss-for-DML at ff2a4de4c)",
    "rll_tpami": "the Caffe fork of the TPAMI release (Ranked-List-Loss-for-DML at 8600e0e30)",
    "osm_aaai19": "the Caffe fork of OSM_CAA_WeightedContrastiveLoss at d9f516c",
}


def _rll(margin: float, pn_margin: float = 0.4, T_p: float = 0, T_n: float = 10, **more: Any) -> dict[str, Any]:
    return {"margin": margin, "pn_margin": pn_margin, "T_p": T_p, "T_n": T_n, **more}


def _osm(margin: float, sigma: float, mean: float = 0.0) -> dict[str, Any]:
    return {"margin": margin, "sigma": sigma, "mean": mean}


# name -> (fork, layer, parameters that select its cases, signature, words)
_CAFFE: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "rll-cvpr19": ("rll_cvpr19", _V12, _rll(1.2), _PLAIN, "Ranked List Loss, CVPR 2019 release, SOP setting"),
    "rll-cvpr19-m10": ("rll_cvpr19", _V12, _rll(1.0), _PLAIN, "RLL, CVPR 2019 release, margin 1.0"),
    "rll-cvpr19-cub": ("rll_cvpr19", _V12, _rll(1.4, 0.2), _PLAIN, "RLL, CVPR 2019 release, CUB setting"),
    "rll-cvpr19-t5-t20": ("rll_cvpr19", _V12, _rll(1.2, 0.4, 5, 20), _PLAIN, "RLL, CVPR 2019 release, both temperatures above zero"),
    "rll-cvpr19-t0": ("rll_cvpr19", _V12, _rll(1.2, 0.4, 0, 0), _PLAIN, "RLL, CVPR 2019 release, equal weights"),
    "rll-cvpr19-legacy": ("rll_cvpr19", _V12, _rll(1.2, legacy_version=True), _PLAIN, "RLL, CVPR 2019 release, legacy_version"),
    "rll-cvpr19-inactive": ("rll_cvpr19", _V12, _rll(0.6, 0.1), _PLAIN, "RLL, CVPR 2019 release, no pair is active"),
    "rll-tpami": ("rll_tpami", _V12, _rll(1.2), _PLAIN, "Ranked List Loss, TPAMI release, SOP setting"),
    "rll-tpami-n10": ("rll_tpami", _V12, _rll(1.0), _PLAIN, "RLL, TPAMI release, reported with threshold 1.0"),
    "rll-tpami-cub": ("rll_tpami", _V12, _rll(1.4, 0.2), _PLAIN, "RLL, TPAMI release, CUB setting"),
    "rll-tpami-n16": ("rll_tpami", _V12, _rll(1.6), _PLAIN, "RLL, TPAMI release, reported with threshold 1.6"),
    "rll-tpami-pn0": ("rll_tpami", _V12, _rll(1.2, 0.0), _PLAIN, "RLL, TPAMI release, no gap between the boundaries"),
    "rll-tpami-t5-t20": ("rll_tpami", _V12, _rll(1.2, 0.4, 5, 20), _PLAIN, "RLL, TPAMI release, both temperatures above zero"),
    "rll-tpami-t0": ("rll_tpami", _V12, _rll(1.2, 0.4, 0, 0), _PLAIN, "RLL, TPAMI release, equal weights"),
    "rll-tpami-legacy": ("rll_tpami", _V12, _rll(1.2, legacy_version=True), _PLAIN, "RLL, TPAMI release, legacy_version"),
    "rll-tpami-inactive": ("rll_tpami", _V12, _rll(0.6, 0.1), _PLAIN, "RLL, TPAMI release, pn_margin 0.1"),
    "osm": ("osm_aaai19", "DistanceWeightedValidPairLossV5", _osm(1.2, 0.8), _SCORED, "Online Soft Mining, CUB setting"),
    "osm-s06": ("osm_aaai19", "DistanceWeightedValidPairLossV5", _osm(1.2, 0.6), _SCORED, "Online Soft Mining, sigma 0.6"),
    "osm-s10": ("osm_aaai19", "DistanceWeightedValidPairLossV5", _osm(1.2, 1.0), _SCORED, "Online Soft Mining, sigma 1.0 (MARS)"),
    "osm-s03-mean05": ("osm_aaai19", "DistanceWeightedValidPairLossV5", _osm(1.2, 0.3, 0.5), _SCORED, "Online Soft Mining, mean 0.5"),
    "osm-m03": ("osm_aaai19", "DistanceWeightedValidPairLossV5", _osm(0.3, 0.8), _SCORED, "Online Soft Mining, no active negative"),
    "osm-v1": ("osm_aaai19", "DistanceWeightedValidPairLoss", {"margin": 1.2}, _SCORED, "the fork's first weighted pair loss"),
    "osm-v2": ("osm_aaai19", "DistanceWeightedValidPairLossV2", {"margin": 1.2}, _SCORED, "the second weighted pair loss"),
    "osm-v3": ("osm_aaai19", "DistanceWeightedValidPairLossV3", {"margin": 1.2}, _SCORED, "the third weighted pair loss"),
    "osm-v4": ("osm_aaai19", "DistanceWeightedValidPairLossV4", {"margin": 1.2}, _SCORED, "the fourth weighted pair loss"),
    "weighted-contrastive": ("osm_aaai19", "WeightedContrastiveLoss", {"margin": 1.2}, _SCORED, "pairs weighted by scores"),
    "weighted-pair": ("osm_aaai19", "WeightedPairLoss", {"margin": 1.2}, _SCORED, "pairs weighted by scores"),
    "weighted-valid-pair": ("osm_aaai19", "WeightedValidPairLoss", {"margin": 1.2}, _SCORED, "only active pairs weighted"),
    "ohpm": ("osm_aaai19", "OHPMWeightedPairLoss", {"margin": 1.2}, _SCORED, "online hard pair mining"),
    "caa": ("osm_aaai19", "CAAChain", {}, "logits*, labels", "class-aware attention with its weighted softmax loss"),
    "weighted-softmax": ("osm_aaai19", "WeightedSoftmaxWithLoss", {}, "logits*, labels, weights", "softmax loss, row weights"),
    "contrastive-caffe": (
        "osm_aaai19", "ContrastiveLoss", {"margin": 1.2, "legacy_version": False}, "a*, b*, similar", "Caffe's contrastive loss",
    ),
    "contrastive-v2-cvpr19": (
        "rll_cvpr19", "ContrastiveLossV2", {"margin": 1.2, "pn_margin": 0.4, "legacy_version": False},
        "a*, b*, similar", "contrastive loss with two boundaries",
    ),
    "triplet-caffe": ("osm_aaai19", "TripletLoss", {"margin": 1.0}, "anchor*, positive*, negative*", "the fork's triplet loss"),
    "unified-weight": (
        "rll_tpami", "UnifiedWeightLoss", {"lamda_p": 1, "scale": 1}, "logits*, labels", "softmax loss, weighted by confidence",
    ),
}  # fmt: skip


# set -> what else than value and gradient it compares, in the order in which a loss returns it
_OUTPUTS = {"caa": ("attention",)}


def set_names() -> list[str]:
    """Names of all bundled golden sets."""
    return [*_CAFFE, *_python_index(), *contributed_names()]


def contributed_names() -> list[str]:
    """Names of the sets that others made, in golden/data/contributed."""
    return [name.split("/")[1] for name in digests() if name.startswith("contributed/") and name.endswith("/set.json")]


def describe(name: str) -> dict[str, Any]:
    """Name, words, signature, parameters, program and number of cases of a bundled set; reads no arrays."""
    if name in _CAFFE:
        fork, layer, params, signature, what = _CAFFE[name]
        return {
            "name": name, "what": what, "signature": signature, "params": params, "kind": "authors_program",
            "program": f"{layer} of {_FORK[fork]}", "outputs": list(_OUTPUTS.get(name, ())),
            "cases": [full.rsplit("/", 1)[1] for full in _selected(name)],
        }  # fmt: skip
    if name in (index := _python_index()):
        entry = index[name]
        return {
            "name": name, "what": entry["what"], "signature": entry["signature"], "params": entry["params"],
            "kind": "authors_program", "program": entry["program"], "outputs": [],
            "cases": [case for _, cases in _files(entry) for case in cases],
        }  # fmt: skip
    if name in contributed_names():
        facts = _contributed(name)
        shown = {k: facts[k] for k in ("name", "what", "signature", "params", "kind", "program")}
        return {**shown, "outputs": [], "cases": list(facts["cases"])}
    near = [n for n in set_names() if name.split("-")[0] in n] or difflib.get_close_matches(
        name, set_names(), cutoff=0.5
    )
    hint = f"similar: {', '.join(near)}" if near else f"`python -m {__package__} list` shows them"
    raise KeyError(f"no golden set named {name!r}; {hint}")


@cache
def load_set(name: str) -> GoldenSet:
    """Read a bundled set. KeyError, with similar names, if there is none."""
    facts = describe(name)
    if name in contributed_names():
        with _arrays(f"contributed/{name}/cases.npz") as npz:
            return assemble(_contributed(name), npz, name)
    cases = tuple(_caffe_cases(name) if name in _CAFFE else _python_cases(name))
    return GoldenSet(
        name, facts["what"], facts["signature"], facts["params"], facts["kind"], facts["program"], _family(name), cases
    )


def _contributed(name: str) -> dict[str, Any]:
    return checked(read_json(f"contributed/{name}/set.json"), name)


def _family(name: str) -> str:
    """Which plain reference of `golden.references` is the set's formula."""
    if re.fullmatch(r"osm-(s\d\d.*|m\d\d)", name):
        return "osm"
    families = (
        "rll-cvpr19", "rll-tpami", "contrastive-v2", "margin", "normsoftmax", "binomial", "lifted", "nca", "weight-mined"
    )  # fmt: skip
    found = next((family for family in families if name.startswith(family)), name)
    return {"ms-paper": "ms", "weight-mined": "weight"}.get(found, found)


@cache
def _caffe_index() -> dict[str, Any]:
    return read_json("losses_caffe/cases.json")


@cache
def _python_index() -> dict[str, Any]:
    return read_json("python_sets/sets.json")


def _selected(name: str) -> list[str]:
    fork, layer, params, _, _ = _CAFFE[name]
    chosen = []
    for full, entry in _caffe_index().items():
        found = dict(entry["params"])
        if "negative_threshold" in found:  # the TPAMI release's name of the field
            found["margin"] = found.pop("negative_threshold")
        # Two layers take optional scores (`five_bottoms`, `six_bottoms`): another signature.
        if full.startswith(f"{fork}/{layer}/") and found == params and entry["stored"] and "_bottoms_" not in full:
            chosen.append(full)
    return chosen


def _arrays(file: str) -> Any:
    return np.load(io.BytesIO(read_bytes(file)), allow_pickle=False)


def _caffe_cases(name: str) -> list[Case]:
    signature = _CAFFE[name][3]
    cases = []
    with _arrays("losses_caffe/cases.npz") as npz:
        for full in _selected(name):
            arguments, slots = [], []
            for k, part in enumerate(signature.split(", ")):
                key = {"logits*": "logits", "labels": "label"}[part] if "CAAChain" in full else f"bottom_{k}"
                array = npz[f"{full}:input:{key}"]
                if part in ("labels", "similar"):
                    array = array.reshape(-1).astype(np.int64)
                elif part in ("scores", "weights"):
                    array = array.reshape(-1)
                arguments.append(Argument(part.rstrip("*"), array, part.endswith("*")))
                if part.endswith("*"):
                    slots.append(f"{key}_diff")
            expected = {}
            for dtype in ("float64", "float32"):
                top = "loss" if "CAAChain" in full else "top_0"
                upstream = 1.0 if "CAAChain" in full else float(npz[f"{full}:{dtype}:top_0_diff"])
                gradients = tuple(npz[f"{full}:{dtype}:{slot}"] for slot in slots)
                value = float(npz[f"{full}:{dtype}:{top}"])
                outputs = {o: npz[f"{full}:{dtype}:{o}"].reshape(-1) for o in _OUTPUTS.get(name, ())}
                expected[dtype] = Expected(value, gradients, upstream, outputs=outputs)
            cases.append(Case(full.rsplit("/", 1)[1], tuple(arguments), expected))
    return cases


def _files(entry: dict[str, Any]) -> list[tuple[str, dict[str, list[str]]]]:
    """(file, its cases with their dtypes) of a set: the first batches, and the sharp ones where it has some."""
    more = entry.get("more")
    return [(entry.get("file", "sets.npz"), entry["cases"])] + ([(more["file"], more["cases"])] if more else [])


def _python_cases(name: str) -> list[Case]:
    entry = _python_index()[name]
    return [case for file, listed in _files(entry) for case in _cases_of_file(name, entry, file, listed)]


def _cases_of_file(name: str, entry: dict[str, Any], file: str, listed: dict[str, list[str]]) -> list[Case]:
    parts = entry["signature"].split(", ")
    slots = [part.rstrip("*") for part in parts if part.endswith("*")]
    cases = []
    with _arrays(f"python_sets/{file}") as npz:
        for case, dtypes in listed.items():
            arguments = []
            for part in parts:
                bare = part.rstrip("*")
                array = npz[f"input:{name}:{case}:{bare}" if bare == "triplets" else f"input:{case}:{bare}"]
                array = array.astype(np.int64) if bare in ("labels", "triplets") else array
                arguments.append(Argument(bare, array, part.endswith("*")))
            expected = {}
            for dtype in dtypes:
                key = f"{name}:{case}:{dtype}"
                loss = float(npz[f"{key}:loss"])
                if f"{key}:grad_embeddings" in npz.files:
                    expected[dtype] = Expected(loss, tuple(npz[f"{key}:grad_{slot}"] for slot in slots))
                    continue
                kept = (npz[f"{key}:grad_embeddings_rows"], npz[f"{key}:grad_embeddings_probe"])
                kept += tuple(npz[f"{key}:grad_{slot}"] for slot in slots[1:])
                probe = npz[f"probe:D{arguments[0].array.shape[1]}"]
                expected[dtype] = Expected(loss, kept, 1.0, npz[f"input:{case}:rows_idx"].astype(np.int64), probe)
            cases.append(Case(case, tuple(arguments), expected))
    return cases
