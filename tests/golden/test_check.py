"""`golden.check`: verdicts, clear rows for what cannot be compared, adapters, properties, report formats."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

import golden
from golden.adapters import (
    distance_matrix,
    item,
    labels_first,
    normalised,
    pair_matrix,
    with_miner,
    with_parameter,
    with_scores,
    with_triplets,
    without_scores,
)
from golden.compare import Tolerance
from ports.losses import MarginLoss, NormSoftmaxLoss, OnlineSoftMiningLoss, RankedListLoss

SET = "contrastive-deep-metric"


def quick(loss, against=SET, **options):
    return golden.check(loss, against, properties=False, diagnosis=False, **options)


def test_a_right_loss_passes(samples):
    report = golden.check(samples.Right(), SET, dtype="both")
    assert report.passed and report.exit_code == 0 and report.diagnosis is None
    assert {row.verdict for row in report.rows} == {"pass"} and len(report.rows) == 38
    assert "Right equals contrastive-deep-metric (38 of 38 cases pass)" in str(report)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("not_a_number", "loss is nan"),
        ("infinite_gradient", "gradient is not finite in rows"),
        ("per_sample", "returned shape (12,), a scalar is needed"),
        ("detached", "loss has no graph"),
        ("python_number", "returned float '0.5', not a tensor"),
        ("raises", "RuntimeError: not today (sample_losses.py:"),
        ("in_place", "backward: RuntimeError: one of the variables needed for gradient"),
    ],
)
def test_what_cannot_be_compared_is_a_row(samples, name, words):
    report = golden.check(getattr(samples, name), SET)
    assert not report.passed and report.exit_code == 1
    assert {row.verdict for row in report.rows} == {"error"}
    assert any(words in row.why for row in report.rows), [row.why for row in report.rows]
    assert words[:20] in str(report)
    json.loads(report.json())
    report.markdown()


def test_only_the_loss_or_only_the_gradient_may_differ(samples):
    assert all("only the loss differs" in row.why for row in quick(samples.LossOnly()).rows if row.expected)

    def gradient(embeddings, labels):
        value = samples.Right()(embeddings, labels)
        return value.detach() + 2 * (value - value.detach())

    rows = quick(gradient).rows
    assert any(row.why == "only the gradient differs" for row in rows)
    assert all(np.isclose(row.norm_ratio, 2) for row in rows if row.expected_norm > 0)


def test_tolerance_and_cases_are_obeyed(samples):
    def near(embeddings, labels):
        return samples.Right()(embeddings, labels) * (1 + 1e-7)

    assert not quick(near).passed
    assert quick(near, tolerance=1e-6).passed
    assert quick(near, tolerance=Tolerance(1e-6, 0, 0)).passed
    assert [row.case for row in quick(near, cases=["g06*"]).rows] == ["g06_n12_d2_single_out"]
    with pytest.raises(ValueError, match="no case"):
        quick(near, cases=["nothing"])


def test_errors_are_in_units_of_the_tolerance(samples):
    def near(embeddings, labels):
        return samples.Right()(embeddings, labels) * (1 + 3e-10)

    row = quick(near, cases=["g06*"], tolerance=Tolerance(1e-10, 0, 0)).rows[0]
    # f * (1 + 3e-10) in float64: 3 tolerances, to the rounding of 1e-16 / 1e-10.
    assert row.loss_error == pytest.approx(3, rel=1e-4) and row.gradient_error == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "int64", torch.bfloat16])
def test_other_dtypes_are_refused(samples, dtype):
    with pytest.raises(ValueError, match="float32 or float64"):
        quick(samples.Right(), dtype=dtype)


def test_a_class_or_a_number_is_refused(samples):
    with pytest.raises(TypeError, match=r"pass an instance, such as Right\(\)"):
        golden.check(samples.Right, SET)
    with pytest.raises(TypeError, match="callable"):
        golden.check(3, SET)


def test_returned_containers_are_opened_with_a_note(samples):
    for name, note in (("as_tuple", "first of the returned"), ("as_dict", '"loss" of the returned dict')):
        report = quick(getattr(samples, name))
        assert report.passed and note in str(report)
    assert quick(samples.as_tuple, adapter=lambda loss: item(loss, 0)).passed


def test_adapters(samples):
    assert quick(samples.labels_then_embeddings, adapter=labels_first).passed
    assert quick(samples.from_similarities, adapter=pair_matrix).passed
    # Rows of these batches have norm 1.0001: normalising changes them.
    assert not quick(samples.Right(), adapter=normalised).passed

    def from_distances(d, labels):
        return from_similarities(1 - d.square() / 2, labels)

    from_similarities = samples.from_similarities
    report = quick(from_distances, adapter=distance_matrix)
    assert all(np.isfinite(row.got) for row in report.rows)


def test_scores_go_to_the_parameter_of_that_name():
    assert quick(OnlineSoftMiningLoss(), "osm").passed
    loss = OnlineSoftMiningLoss()
    assert quick(lambda x, y, s: loss(x, y, attention=s), "osm").passed
    assert quick(loss, "osm", adapter=lambda f: with_scores(f, "attention")).passed
    assert not quick(loss, "osm", adapter=without_scores).passed
    with pytest.raises(TypeError, match="no parameter named"):
        with_scores(lambda a, b: a)


def test_triplets_and_proxies_reach_modules_and_functions():
    """Triplets as index tensors, proxies and boundaries in place of the module's own; a plain function gets them as they are."""
    assert quick(MarginLoss(), "margin").passed and quick(MarginLoss(num_classes=100), "margin-class-beta").passed
    assert quick(NormSoftmaxLoss(100, 2), "normsoftmax").passed

    def softmax(x, y, w):
        return torch.nn.functional.cross_entropy(x @ torch.nn.functional.normalize(w).T / 0.05, y)

    assert quick(softmax, "normsoftmax").passed

    def distance(a, b):
        return ((a - b).square().sum(1) + 1e-8).sqrt()

    def margin(x, y, triplets):
        a, p, n = (x[triplets[:, k]] for k in range(3))
        terms = [(distance(a, p) - 1.0).clamp(min=0), (1.4 - distance(a, n)).clamp(min=0)]
        return sum(t.sum() for t in terms) / sum((t > 0).sum() for t in terms)

    assert quick(margin, "margin").passed
    assert quick(lambda x, y, t: MarginLoss()(x, y, t), "margin", adapter=with_triplets).passed
    report = quick(NormSoftmaxLoss(100, 2), "normsoftmax", adapter=lambda loss: with_parameter(loss, "weight"))
    assert report.passed
    with pytest.raises(TypeError, match="has no parameter 'proxy'; it has weight"):
        with_parameter(NormSoftmaxLoss(100, 2), "proxy")
    with pytest.raises(TypeError, match="has no single parameter; it has none"):
        with_parameter(MarginLoss())


def test_a_module_whose_proxies_are_not_trained_is_told():
    report = quick(lambda x, y, w: torch.nn.functional.cross_entropy(x @ w.detach().T, y), "normsoftmax")
    assert {row.why for row in report.rows} == {"no gradient reaches weights"}


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (MarginLoss(), "margin"),
        (MarginLoss(num_classes=100), "margin-class-beta"),
        (NormSoftmaxLoss(100, 2), "normsoftmax"),
    ],
)
def test_properties_of_losses_with_more_arguments(loss, name):
    report = golden.check(loss, name)
    found = {p.name: p for p in report.properties}
    assert report.passed and found["order of the batch"].verdict == "ok" and found["float32"].verdict == "ok"
    assert not [p for p in report.properties if p.verdict == "no"], report.properties
    assert found["gradient of the value"].words.startswith("yes")


def test_miner_tuples():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    loss, miner = losses.MultiSimilarityLoss(2, 40, 0.5), miners.MultiSimilarityMiner(epsilon=0.1)
    # Unit rows, no near duplicates: there the library equals research-ms-loss (in float64: 1e-15).
    report = quick(loss, "ms", adapter=lambda f: with_miner(f, miner), cases=["g02*"])
    row = report.rows[0]
    # It normalises inside, rows that are units to float32's 6e-8: the loss agrees to 1e-9 (ten tolerances), and the part of
    # the gradient along the rows is missing.
    assert row.loss_error < 10 and row.verdict == "fail"


def test_properties_of_a_well_behaved_loss():
    report = golden.check(RankedListLoss(), "rll-cvpr19", cases=["sop12*"])
    found = {p.name: p for p in report.properties}
    assert not [p for p in report.properties if p.verdict == "no"]
    assert found["gradient of the value"].words.startswith("no: differs")
    assert found["one sample"].words == "loss 0, gradient zero"
    assert found["inputs with a gradient"].words == "embeddings: yes"


def test_properties_name_what_is_odd(samples):
    def of(loss):
        return {p.name: p for p in golden.check(loss, SET, diagnosis=False).properties}

    assert of(RankedListLoss(variant="paper"))["gradient of the value"].words.startswith("yes")
    # Deep_Metric's loss jumps where a row's product with itself crosses 1.
    assert of(samples.Right())["gradient of the value"].words.startswith("no")
    assert of(samples.random_noise)["repeatable"].verdict == "no"
    assert of(samples.order_dependent)["order of the batch"].verdict == "no"
    assert of(samples.label_dependent)["names of the labels"].verdict == "no"
    assert of(samples.raises)["ordinary batch (4 x 3)"].verdict == "no"

    def fragile(embeddings, labels):
        return samples.Right()(embeddings, labels) / (labels[:, None] != labels).sum()

    assert of(fragile)["no negatives"].verdict == "no"


def test_properties_say_which_inputs_are_detached():
    report = golden.check(OnlineSoftMiningLoss(), "osm", cases=["s08_cluster*"])
    assert {p.name: p.words for p in report.properties}["inputs with a gradient"] == "embeddings: yes, scores: detached"


def test_report_formats(samples, tmp_path):
    report = golden.check(samples.Means(), SET)
    data = json.loads(report.json())
    assert data["passed"] is False and data["kind"] == "authors_program" and len(data["cases"]) == 19
    assert data["diagnosis"]["deviations"] == ["means"]
    text = report.markdown()
    assert "## Diagnosis" in text and "averaged, not summed" in text and text.count("| float64 |") == 19
    for name in ("a.json", "a.md", "a.txt", "a.png"):
        report.save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.md", "a.png", "a.txt"]
    with pytest.raises(ValueError, match=r"\.json, \.md, \.txt or \.png"):
        report.save(tmp_path / "a.pdf")


def test_names_and_errors_are_no_markup(samples):
    def hostile(embeddings, labels):
        raise ValueError("<img src=x onerror=alert(1)> | [a](b)\n# ")

    hostile.__name__ = hostile.__qualname__ = "<script>x</script>"
    text = golden.check(hostile, SET).markdown()
    assert "onerror" in text and not re.search(r"(?<!\\)<", text) and "\n# " not in text[2:]
    assert "&#124; \\[a](b)" in text


def test_json_knows_no_nan(samples):
    assert "NaN" not in golden.check(samples.not_a_number, SET).json()


def test_a_picture_is_made_without_any_number(samples, tmp_path):
    golden.check(samples.raises, SET).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_memory_of_the_batch_is_not_changed(samples):
    """A loss that writes into its input must not spoil the set."""

    def rude(embeddings, labels):
        value = samples.Right()(embeddings, labels)
        with torch.no_grad():
            embeddings.zero_()
            labels.zero_()
        return value

    assert {row.why.split(",")[0] for row in quick(rude).rows} == {"writes into its input: embeddings"}
    assert quick(samples.Right()).passed
