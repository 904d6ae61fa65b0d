"""The golden sets load, hold together, and our ports equal every case of every set."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import golden
from golden.model import compute
from golden.references import reference_for
from golden.search import model
from golden.sets import contributed_names, describe, load_set, set_names
from ports import losses

NAMES = set_names()


def port_of(name: str):
    """The project's port of a set's loss, at the set's setting."""
    params = dict(describe(name)["params"])
    if name.startswith("rll-cvpr19"):
        return losses.RankedListLoss(**params)
    if name.startswith("rll-tpami"):
        return losses.RankedListLoss(release="tpami", negative_threshold=params.pop("margin"), **params)
    if name in ("osm", "osm-s06", "osm-s10", "osm-s03-mean05", "osm-m03"):
        return losses.OnlineSoftMiningLoss(**params)
    versions = {"osm-v1": "V", "osm-v2": "V2", "osm-v3": "V3", "osm-v4": "V4"}
    versions |= {"weighted-pair": "weighted_pair", "weighted-valid-pair": "weighted_valid_pair"}
    if name in versions:
        return losses.ValidPairLoss(versions[name], **params)
    if name == "contrastive-v2-cvpr19":
        return losses.CaffeContrastiveLossV2(**params, release="cvpr19")
    return {
        "weighted-contrastive": lambda: losses.HardestPairLoss(**params),
        "ohpm": lambda: losses.HardestPairLoss(**params),
        "caa": lambda: losses.ClassAwareAttention(),
        "weighted-softmax": lambda: losses.WeightedSoftmaxLoss(),
        "contrastive-caffe": lambda: losses.CaffeContrastiveLoss(**params),
        "triplet-caffe": lambda: losses.CaffeTripletLoss(**params),
        "unified-weight": lambda: losses.UnifiedWeightLoss(**params),
        "ms": lambda: losses.MultiSimilarityLoss(),
        "ms-paper": lambda: losses.MultiSimilarityLoss(2, 50, 1, 0.1),
        "contrastive-deep-metric": lambda: losses.ContrastiveLoss(),
        "binomial": lambda: losses.BinomialDevianceLoss(),
        "binomial-train": lambda: losses.BinomialDevianceLoss(alpha=30),
        "binomial-mined": lambda: losses.BinomialDevianceLoss(beta=2, hard_mining=True),
        "lifted": lambda: losses.LiftedStructureLoss(),
        "lifted-mined": lambda: losses.LiftedStructureLoss(hard_mining=True),
        "hard-mining": lambda: losses.HardMiningLoss(),
        "nca-k5": lambda: losses.NCALoss(k=5),
        "nca": lambda: losses.NCALoss(),
        "semi-hard": lambda: losses.SemiHardLoss(),
        "triplet-hard-mining": lambda: losses.TripletHardMiningLoss(0.1),
        "batch-all": lambda: losses.BatchAllLoss(),
        "weight": lambda: losses.WeightLoss(),
        "weight-mined": lambda: losses.WeightLoss(alpha=40, hard_mining=True),
        "margin": lambda: losses.MarginLoss(),
        "margin-class-beta": lambda: losses.MarginLoss(num_classes=100),
        # The sets bring proxies of their own: these are never used.
        "normsoftmax": lambda: losses.NormSoftmaxLoss(100, 2),
        "normsoftmax-t1": lambda: losses.NormSoftmaxLoss(100, 2, temperature=1.0),
    }[name]()


@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("-library") and n not in contributed_names()])
def test_our_port_equals_the_set(name):
    report = golden.check(port_of(name), name, dtype="both", properties=False, diagnosis=False)
    assert report.passed, str(report)


@pytest.mark.parametrize("name", ["rll-library", "ms-library"])
def test_pytorch_metric_learning_equals_its_own_record(name):
    peers = pytest.importorskip("pytorch_metric_learning.losses")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    if name == "rll-library":
        loss = peers.RankedListLoss(0.4, 10, alpha=1.2, Tp=4, distance=distances.LpDistance(normalize_embeddings=False))
    else:
        loss = peers.MultiSimilarityLoss(alpha=2, beta=50, base=0.5)
    report = golden.check(loss, name, properties=False, diagnosis=False)
    assert report.passed, str(report)


def test_pytorch_metric_learning_equals_the_independent_proxy_anchor():
    """Three texts of one formula: the library's, the collector's loops, and the reference below."""
    peers = pytest.importorskip("pytorch_metric_learning.losses")
    report = golden.check(peers.ProxyAnchorLoss(7, 8), "proxy-anchor", properties=False, diagnosis=False)
    assert report.passed, str(report)


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_reference_equals_the_set(name):
    golden_set = load_set(name)
    reference = reference_for(golden_set.family)
    assert reference is not None
    for case in golden_set.cases:
        if (expected := case.expected.get("float64")) is None:
            continue
        value, gradient = model(reference, golden_set.params, case, frozenset())
        whole = case.unflatten(gradient * expected.upstream)
        # The same sums in another order: a few 1e-16.
        np.testing.assert_allclose(value, expected.loss, rtol=1e-12, atol=1e-15)
        outputs = compute(reference, golden_set.params, case.arguments).outputs
        for key, want in expected.outputs.items():
            np.testing.assert_allclose(outputs[key], want, rtol=1e-12)
        for ours, want in zip(expected.view(whole), expected.gradients):
            # Terms that cancel to a gradient of zero leave their rounding, 1e-16.
            np.testing.assert_allclose(ours, want, rtol=0, atol=1e-12 * np.abs(want).max(initial=0) + 1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_complete(name):
    golden_set = load_set(name)
    assert (
        golden_set.cases
        and golden_set.kind == ("independent_program" if name in contributed_names() else "authors_program")
        and golden_set.program
        and golden_set.what
    )
    parts = golden_set.signature.split(", ")
    for case in golden_set.cases:
        assert [a.name + "*" * a.differentiable for a in case.arguments] == parts
        for expected in case.expected.values():
            whole = tuple(np.zeros(a.array.shape) for a in case.arguments if a.differentiable)
            assert [g.shape for g in expected.gradients] == [v.shape for v in expected.view(whole)]
            assert np.isfinite(expected.loss) and all(np.isfinite(g).all() for g in expected.gradients)


def test_every_stored_caffe_case_of_a_set_layer_is_in_one_set():
    """But for those at settings of which no set is made; they are listed, so that a new one is noticed."""
    from golden import sets

    layers = {entry[1] for entry in sets._CAFFE.values()}
    used = [full for name in sets._CAFFE for full in sets._selected(name)]
    assert len(used) == len(set(used))
    left = {
        full
        for full, entry in sets._caffe_index().items()
        if entry["stored"] and full.split("/")[1] in layers and full not in used
    }
    assert {full.split("/", 1)[1] for full in left} == {
        "ContrastiveLossV2/pairs_legacy_n7_d5", "ContrastiveLossV2/pairs_n7_d5",  # legacy; the TPAMI fork's
        "UnifiedWeightLoss/c10_lam2_s3", "UnifiedWeightLoss/c5_ignore2", "WeightedSoftmaxWithLoss/n9_c5_ignore2",
        "DistanceWeightedValidPairLossV3/s08_m10_cluster_4x3_d8", "DistanceWeightedValidPairLossV4/s08_m10_cluster_4x3_d8",
        "DistanceWeightedValidPairLoss/s08_m10_cluster_4x3_d8", "WeightedContrastiveLoss/s08_m10_cluster_4x3_d8",
        "WeightedValidPairLoss/s08_m10_cluster_4x3_d8", "OHPMWeightedPairLoss/s08_m10_cluster_4x3_d8",
        "DistanceWeightedValidPairLoss/no_active_negative_d64", "DistanceWeightedValidPairLossV2/no_active_negative_d64",
        "DistanceWeightedValidPairLossV4/no_active_negative_d64", "WeightedPairLoss/no_active_negative_d64",
        "WeightedValidPairLoss/no_active_negative_d64", "ContrastiveLoss/pairs_m05_n9_d3",
        "ContrastiveLoss/pairs_default_margin", "ContrastiveLoss/five_bottoms_abnormal", "TripletLoss/default",
        "TripletLoss/six_bottoms_good",
    }  # fmt: skip


def test_an_unknown_set_names_similar_ones():
    with pytest.raises(KeyError, match="rll-cvpr19-m10"):
        load_set("rll-cvpr20")


def test_a_sweep_builds_the_loss_at_each_setting():
    reports = golden.sweep(lambda **params: losses.RankedListLoss(**params), "rll-cvpr19*", properties=False)
    assert len(reports) == 7 and all(r.passed for r in reports.values())
    with pytest.raises(KeyError, match="no golden set matches"):
        golden.sweep(losses.RankedListLoss, "nothing*")


def test_importing_golden_is_quick_and_loads_neither_torch_nor_numpy():
    code = (
        "import sys, time; t = time.process_time(); import golden; t = time.process_time() - t; dir(golden); "
        "print(t); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0
    assert float(run.stdout) < 0.1


def test_no_module_has_the_name_of_a_public_function():
    """Importing it would put the module in the function's place."""
    modules = {path.stem for path in Path(golden.__file__).parent.glob("*.py")}
    assert not (modules - {"adapters"}) & set(golden.__all__)


def test_a_loss_is_identified():
    reports = golden.identify(losses.RankedListLoss(release="tpami"))
    assert [r.against for r in reports if r.passed] == ["rll-tpami"]
    assert not any(r.passed for r in golden.identify(lambda x, y: (x**4).sum()))


def test_golden_imports_only_what_it_may():
    """NumPy and torch for the numbers; matplotlib and pytest for what people see. Nothing of ours, and of its own by relative names."""
    allowed = {"numpy", "torch", "jax", "tensorflow", "matplotlib", "pytest", *sys.stdlib_module_names}
    found = set()
    for file in Path(golden.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.split(".")[0] for name in names}
    assert not found - allowed


def test_caa_compares_the_attention():
    """The weighted softmax loss alone does not know the attention's sigma and mean."""

    def checked(loss):
        return golden.check(loss, "caa", properties=False, diagnosis=False)

    for wrong in ({"attention_sigma": 0.7}, {"attention_mean": 0.98}, {"variant": "paper"}):
        report = checked(losses.ClassAwareAttention(**wrong))
        assert not report.passed and any("attention differs" in row.why for row in report.rows)
        assert all(row.loss_error <= 1 and row.gradient_error <= 1 for row in report.rows)
    port = losses.ClassAwareAttention()
    assert checked(lambda x, y: tuple(port(x, y))[:2]).passed
    assert checked(lambda x, y: {"loss": port(x, y).loss, "attention": port(x, y).attention}).passed
    alone = checked(lambda x, y: port(x, y).loss)
    assert {row.verdict for row in alone.rows} == {"error"} and "return (loss, attention)" in alone.rows[0].why
    told = golden.diagnose(losses.ClassAwareAttention(variant="paper"), "caa")
    assert told.deviations == ("attention_is_p",) and told.lines == [
        "attention differs: the attention is the probability itself (the paper), not a Gaussian of it"
    ]


@pytest.mark.gpu
def test_our_port_equals_the_set_on_cuda(cuda):
    report = golden.check(losses.RankedListLoss(), "rll-cvpr19", dtype="both", device=cuda)
    assert report.passed, str(report)
    assert torch.cuda.is_available()
