"""The Python originals' recorded losses and gradients: every case that they computed, in float64 and float32."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.paths import DATA

from ports import losses

# A float64 run repeats the original's sums in another order: rtol 1e-10, atol 1e-12 leave five digits of room over the
# 5e-16 (loss) and 3e-14 (gradient) that an independent NumPy computation reaches on the same records.
F64 = {"rtol": 1e-10, "atol": 1e-12}
# In float32 single entries cancel, so they are measured against the gradient's largest entry.
F32 = 1e-5

LOSSES = {
    "MalongTech__research-ms-loss/ms_default": lambda: losses.MultiSimilarityLoss(),
    "MalongTech__research-ms-loss/ms_paper": lambda: losses.MultiSimilarityLoss(2, 50, 1, 0.1),
    "MalongTech__research-ms-loss/margin_beta_class": lambda: losses.MarginLoss(num_classes=100),
    "MalongTech__research-ms-loss/margin_beta_const": lambda: losses.MarginLoss(),
    "bnu-wangxun__Deep_Metric/contrastive_default": lambda: losses.ContrastiveLoss(),
    "bnu-wangxun__Deep_Metric/binomial_default": lambda: losses.BinomialDevianceLoss(),
    "bnu-wangxun__Deep_Metric/binomial_train": lambda: losses.BinomialDevianceLoss(alpha=30),
    "bnu-wangxun__Deep_Metric/binomial_mined": lambda: losses.BinomialDevianceLoss(beta=2, hard_mining=True),
    "bnu-wangxun__Deep_Metric/lifted_default": lambda: losses.LiftedStructureLoss(),
    "bnu-wangxun__Deep_Metric/lifted_mined": lambda: losses.LiftedStructureLoss(hard_mining=True),
    "bnu-wangxun__Deep_Metric/hardmining_default": lambda: losses.HardMiningLoss(),
    "bnu-wangxun__Deep_Metric/nca_default": lambda: losses.NCALoss(),
    "bnu-wangxun__Deep_Metric/nca_train": lambda: losses.NCALoss(alpha=30),
    "bnu-wangxun__Deep_Metric/nca_k5": lambda: losses.NCALoss(k=5),
    "bnu-wangxun__Deep_Metric/semihard_a40_b2": lambda: losses.SemiHardLoss(),
    "bnu-wangxun__Deep_Metric/triplet_hardmining_m0": lambda: losses.TripletHardMiningLoss(),
    "bnu-wangxun__Deep_Metric/triplet_hardmining_m01": lambda: losses.TripletHardMiningLoss(0.1),
    "bnu-wangxun__Deep_metric/weight_default": lambda: losses.WeightLoss(),
    "bnu-wangxun__Deep_metric/weight_mined": lambda: losses.WeightLoss(alpha=40, hard_mining=True),
    "bnu-wangxun__Deep_metric/batchall_m02": lambda: losses.BatchAllLoss(),
    "azgo14__classification_metric_learning/normsoftmax_t005": lambda: losses.NormSoftmaxLoss(1, 1),
    "azgo14__classification_metric_learning/normsoftmax_t1": lambda: losses.NormSoftmaxLoss(1, 1, 1.0),
}

# In this float32 run the original's share A / (A + C) is a denormal number (about e^-88), which costs it the digits: its
# float32 gradient is 3.5e-4 away from its own float64 gradient, ours 4e-7. It is compared with the float64 record.
DENORMAL = ("nca_train", "g14_n80_d2_16x5_clus_out")

# Recorded cases with outcome ok that are not fragile in that dtype: (float64, float32).
COUNTS = {
    "ms_default": (11, 11), "ms_paper": (11, 11), "margin_beta_class": (10, 9), "margin_beta_const": (10, 9),
    "contrastive_default": (16, 11), "binomial_default": (12, 8), "binomial_train": (12, 8), "binomial_mined": (11, 10),
    "lifted_default": (12, 8), "lifted_mined": (11, 10), "hardmining_default": (11, 10), "nca_default": (5, 5),
    "nca_train": (5, 5), "nca_k5": (10, 10), "semihard_a40_b2": (11, 12), "triplet_hardmining_m0": (9, 9),
    "triplet_hardmining_m01": (11, 11), "weight_default": (12, 9), "weight_mined": (8, 7), "batchall_m02": (9, 6),
    "normsoftmax_t005": (18, 18), "normsoftmax_t1": (16, 16),
}  # fmt: skip


def load_case(python: Path, entry: dict) -> dict[str, np.ndarray]:
    """The record's arrays with the embeddings, labels and class weights that its run used."""
    arrays = dict(np.load(python / entry["path"]))
    inputs = np.load(python / entry["input_file"])
    arrays.setdefault("embeddings", inputs["embeddings"])
    if "x7.5" in entry["case"]:
        arrays["embeddings"] = inputs["embeddings"] * np.float32(7.5)
    arrays.setdefault("labels", inputs["labels"])
    if "grad_weights" in arrays or "grad_weights_rows" in arrays:
        # The class weights are recorded as a recipe: seed of the input case + 5000, two classes more than the labels have.
        count, dim = int(arrays["labels"].max()) + 3, arrays["embeddings"].shape[1]
        seed = 5000 + 100 + int(entry["case"][1:3])
        bound = 1 / np.sqrt(dim)
        arrays.setdefault("weights", np.random.RandomState(seed).uniform(-bound, bound, (count, dim)).astype("f4"))
        if entry["case"].endswith("zerow"):
            arrays["weights"][1] = 0
    return arrays


def run_loss(name: str, arrays: dict[str, np.ndarray], suffix: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Our loss and its gradients on a record's inputs; suffix "" is the float64 run, "_f32" the float32 run."""
    dtype = torch.float32 if suffix else torch.float64
    x = torch.tensor(arrays["embeddings"]).to(dtype).requires_grad_()
    labels = torch.tensor(arrays["labels"]).long()
    loss = LOSSES[name]()
    triplets = None
    if isinstance(loss, losses.NormSoftmaxLoss):
        loss.num_classes = len(arrays["weights"])
        loss.weight = torch.nn.Parameter(torch.tensor(arrays["weights"]))
    elif isinstance(loss, losses.MarginLoss) and "triplets" + suffix in arrays:
        triplets = tuple(torch.tensor(arrays["triplets" + suffix]).long().T)
    loss.to(dtype)
    value = loss(x, labels, triplets)
    value.backward()
    gradients = {"embeddings": x.grad}
    if isinstance(loss, losses.NormSoftmaxLoss):
        gradients["weights"] = loss.weight.grad
    elif isinstance(loss, losses.MarginLoss) and isinstance(loss.beta, torch.nn.Parameter):
        gradients["beta"] = loss.beta.grad
    return value, gradients


def recorded_views(key: str, gradient: np.ndarray, arrays: dict, suffix: str, probes: dict) -> list[tuple]:
    """(what, got, expected, scale) of each stored form of a gradient: all of it, or rows, row norms and projections."""
    if f"grad_{key}{suffix}" in arrays:
        expected = arrays[f"grad_{key}{suffix}"]
        return [(key, gradient, expected, np.abs(expected).max(initial=0))]
    rows = arrays[f"grad_{key}_rows_idx"]
    expected_rows = arrays[f"grad_{key}_rows{suffix}"]
    norms = arrays[f"grad_{key}_row_norms{suffix}"]
    probe = probes[f"D{gradient.shape[1]}"]
    # The largest entry of a row is at most its norm; of all rows the largest norm bounds it from above, norm/sqrt(D)
    # from below. The lower bound is used for entries; a projection sums D entries with weights of unit variance.
    entry = norms.max(initial=0) / np.sqrt(gradient.shape[1])
    return [
        (f"{key} rows", gradient[rows], expected_rows, max(entry, np.abs(expected_rows).max(initial=0))),
        (f"{key} row norms", np.linalg.norm(gradient, axis=1), norms, norms.max(initial=0)),
        (f"{key} probe", gradient @ probe, arrays[f"grad_{key}_probe{suffix}"], norms.max(initial=0)),
    ]


def mismatches(name: str, entry: dict, arrays: dict, suffix: str, probes: dict) -> list[str]:
    value, gradients = run_loss(name, arrays, suffix)
    compared = [("loss", value.detach().numpy(), arrays["loss" + suffix], abs(arrays["loss" + suffix]))]
    for key, gradient in gradients.items():
        compared += recorded_views(key, gradient.detach().numpy(), arrays, suffix, probes)
    if suffix and (entry["config"], entry["case"]) == DENORMAL:
        compared = [("loss", value.detach().numpy(), arrays["loss"], abs(arrays["loss"]))]
        compared += recorded_views("embeddings", gradients["embeddings"].numpy(), arrays, "", probes)
    bad = []
    for what, got, expected, scale in compared:
        got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
        error = np.abs(got - expected)
        # atol 1e-7 for float32: the loss of a batch whose terms cancel to zero.
        limit = F32 * scale + 1e-7 if suffix else F64["atol"] + F64["rtol"] * np.abs(expected)
        if not (error <= limit).all():
            bad.append(f"{entry['case']}: {what} off by {error.max():.2e} of {np.abs(expected).max():.2e}")
    return bad


def entries_of(python: Path, name: str) -> list[dict]:
    manifest = json.loads((python / "manifest.json").read_text())
    return [e for e in manifest["entries"] if str(e["path"]).startswith(name + "/")]


def usable(entry: dict, run: str) -> bool:
    result = entry["results"][run]
    return result["outcome"] == "ok" and not result["rounding"]["fragile"]


def side_is_rounding(embeddings: np.ndarray) -> bool:
    """float32 rows in the plane whose product with themselves is below 1 or not by how a processor rounds x*x + y*y.

    The originals drop the anchor by `similarity < 1`: with a fused multiply-add (one rounding) another pair may be left than with
    two roundings, and neither is wrong. In the plane these two are all the ways there are.
    """
    if embeddings.shape[1] != 2:
        return False
    squares = embeddings.astype(np.float32) ** 2
    exact = embeddings.astype(np.float64) ** 2
    apart, fused = squares[:, 0] + squares[:, 1], np.float32(exact[:, 0] + squares[:, 1])
    other = np.float32(squares[:, 0] + exact[:, 1])
    return bool(((apart < 1) != (fused < 1)).any() or ((apart < 1) != (other < 1)).any())


@pytest.mark.parametrize("suffix", ["", "_f32"], ids=["f64", "f32"])
@pytest.mark.parametrize("name", LOSSES, ids=[name.split("/")[1] for name in LOSSES])
def test_equals_every_recorded_case(reference: Path, name: str, suffix: str) -> None:
    python = reference / "python"
    probes = np.load(python / "inputs" / "probes.npz")
    entries = [e for e in entries_of(python, name) if usable(e, "f32" if suffix else "f64")]
    assert len(entries) == COUNTS[name.split("/")[1]][bool(suffix)]
    cases = [(e, load_case(python, e)) for e in entries]
    if suffix:
        cases = [(e, case) for e, case in cases if not side_is_rounding(np.asarray(case["embeddings"]))]
        assert len(cases) >= len(entries) - 1  # the plane's only case, g01
    bad = [line for e, case in cases for line in mismatches(name, e, case, suffix, probes)]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("name", LOSSES, ids=[name.split("/")[1] for name in LOSSES])
def test_is_finite_where_the_original_fails(reference: Path, name: str) -> None:
    """Crashes, NaN, -inf, Python numbers and constants without a graph become finite values with finite gradients."""
    python = reference / "python"
    failed = [e for e in entries_of(python, name) if e["results"]["f64"]["outcome"] != "ok"]
    for entry in failed:
        if "badlabel" in entry["case"]:
            continue
        for suffix in ("", "_f32"):
            value, gradients = run_loss(name, load_case(python, entry), suffix)
            assert torch.isfinite(value), entry["case"]
            for gradient in gradients.values():
                assert torch.isfinite(gradient).all(), entry["case"]
            if entry["results"]["f64"]["outcome"] in ("plain_python_number", "constant_zero_no_graph"):
                assert value == 0 and not gradients["embeddings"].any(), entry["case"]


SHIPPED = DATA / "losses_python" / "cases.npz"


def probe_matrices() -> dict[str, np.ndarray]:
    """The projections of the compact gradients, by their recipe."""
    return {f"D{dim}": np.random.RandomState(999).randn(dim, 3) for dim in (2, 64, 128, 512)}


def shipped_cases() -> dict[str, list[tuple[dict, dict]]]:
    """Loss name -> (entry, arrays) of the cases that travel with the project."""
    with np.load(SHIPPED, allow_pickle=False) as archive:
        stored = dict(archive)
    cases: dict[str, dict[str, dict]] = {}
    for key, value in stored.items():
        name, case, field = key.rsplit("/", 2)
        cases.setdefault(name, {}).setdefault(case, {})[field] = value
    inputs = cases.pop("inputs")
    return {
        name: [
            ({"case": case, "config": name.split("/")[1]}, inputs[case] | fields) for case, fields in by_case.items()
        ]
        for name, by_case in cases.items()
    }


@pytest.mark.parametrize("name", LOSSES, ids=[name.split("/")[1] for name in LOSSES])
def test_equals_the_shipped_cases(name: str) -> None:
    """The authors' float64 runs that every clone has."""
    cases = shipped_cases()[name]
    bad = [line for entry, arrays in cases for line in mismatches(name, entry, arrays, "", probe_matrices())]
    assert cases and not bad, "\n".join(bad)


MUTATIONS = {
    "ms_default": {
        "peer's beta": lambda: losses.MultiSimilarityLoss(beta=50),
        "paper's base": lambda: losses.MultiSimilarityLoss(base=1.0),
        "no miner": lambda: losses.MultiSimilarityLoss(beta=40, variant="library"),
        "another epsilon": lambda: losses.MultiSimilarityLoss(epsilon=0.05),
    },
    "contrastive_default": {
        "self pair excluded by index": lambda: losses.ContrastiveLoss(cutoff=1 - 1e-5),
        "another margin": lambda: losses.ContrastiveLoss(0.4),
        "peer's": lambda: losses.ContrastiveLoss(variant="library"),
        "hinge": lambda: losses.ContrastiveLoss(variant="paper"),
    },
    "binomial_default": {
        "train.py's alpha": lambda: losses.BinomialDevianceLoss(alpha=30),
        "paper": lambda: losses.BinomialDevianceLoss(variant="paper"),
    },
    "lifted_default": {
        "paper": lambda: losses.LiftedStructureLoss(variant="paper"),
        "mined": lambda: losses.LiftedStructureLoss(hard_mining=True),
    },
    "nca_k5": {
        "signs put right": lambda: losses.NCALoss(alpha=16, variant="paper"),
        "one neighbour more": lambda: losses.NCALoss(k=6),
    },
    "batchall_m02": {
        "mean of the violating triplets": lambda: losses.BatchAllLoss(nonzero=True, variant="paper"),
        "own rows at unequal sizes": lambda: losses.BatchAllLoss(variant="paper"),
    },
    "weight_mined": {"half of it": lambda: losses.MultiSimilarityLoss(cutoff=1.0)},
    "margin_beta_class": {
        "exactly 1.2": lambda: losses.MarginLoss(),
        "triplets counted": lambda: losses.MarginLoss(num_classes=100, count="triplets"),
    },
    "normsoftmax_t005": {"embeddings normalised": lambda: losses.NormSoftmaxLoss(1, 1, variant="paper")},
}


@pytest.mark.parametrize(
    ("config", "mutation"), [(config, mutation) for config, known in MUTATIONS.items() for mutation in known]
)
def test_a_known_wrong_port_is_caught(config: str, mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the same tolerance, at least one shipped case tells the wrong port from the right one."""
    name = next(name for name in LOSSES if name.endswith("/" + config))
    monkeypatch.setitem(LOSSES, name, MUTATIONS[config][mutation])
    caught = [
        line
        for entry, arrays in shipped_cases()[name]
        for line in mismatches(name, entry, arrays, "", probe_matrices())
    ]
    assert caught
