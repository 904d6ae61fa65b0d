"""How a loss that is not equal stands to a set: behind an L2 layer, up to a factor, on ordinary batches; and which adapter fits."""

from __future__ import annotations

import json

import pytest
import torch

import golden
from golden.adapters import transposed_proxies, with_miner
from golden.batches import kinds, special
from golden.mutants import wrong_port
from golden.ranking import identify, separates
from golden.relation import KINDS
from golden.sets import load_set
from ports.losses import MultiSimilarityLoss, NormSoftmaxLoss, RankedListLoss

SET = "contrastive-deep-metric"


def check(loss, against=SET, **options):
    return golden.check(loss, against, properties=False, diagnosis=False, **options)


def test_every_kind_is_named_by_its_planted_deviation(samples):
    """A loss made to stand in that relation, and in no nearer one."""
    port = RankedListLoss()

    def other_value(x, y):
        value = port(x, y)
        return value + value.detach()

    def ordinary(x, y):  # wrong where rows are equal, nowhere else
        equal = (torch.cdist(x, x) == 0).sum() > len(x)
        return port(x, y) * (1.5 if equal else 1.0)

    def turned(x, y):
        return port(x, y) + (x[:, 0] - x[:, 0].detach()).sum()

    planted = {
        "equal": port,
        "behind-l2": wrong_port(load_set("rll-cvpr19"), frozenset({"normalised_inside"})),
        "factor": lambda x, y: 0.25 * port(x, y),
        "ordinary": ordinary,
        "behind-l2-ordinary": lambda x, y: ordinary(torch.nn.functional.normalize(x), y),
        "value": turned,
        "gradient": other_value,
        "differs": lambda x, y: turned(x, y) + 1,
        "error": lambda x, y: x.sum(1),
    }
    found = {name: check(loss, "rll-cvpr19").relation for name, loss in planted.items()}
    assert {name: relation.kind for name, relation in found.items()} == {name: name for name in planted}
    assert found["factor"].factor == pytest.approx(0.25) and "constant factor 0.25" in found["factor"].words
    assert found["ordinary"].special == ("duplicates",)
    assert found["behind-l2-ordinary"].special == ("duplicates",) and set(planted) == set(KINDS)


def test_the_librarys_loss_behind_an_l2_layer():
    """Its MultiSimilarity with its miner: cosine 1 to the release, which it is fed with unit rows."""
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    miner = pytest.importorskip("pytorch_metric_learning.miners").MultiSimilarityMiner(epsilon=0.1)

    def adapted(loss):
        return with_miner(loss, miner)

    report = check(losses.MultiSimilarityLoss(2, 40, 0.5), "ms", adapter=adapted)
    assert report.relation.kind == "behind-l2" and not report.passed and report.exit_code == 1
    assert "MultiSimilarityLoss equals ms behind an L2 layer" in report.headline and "(0 of 23" in report.headline
    assert check(losses.MultiSimilarityLoss(2, 40, 0.5), "ms", adapter=adapted, accept=["behind-l2"]).passed
    assert check(losses.MultiSimilarityLoss(2, 40.8, 0.5), "ms", adapter=adapted).relation.kind == "differs"
    report = check(losses.NormalizedSoftmaxLoss(100, 2), "normsoftmax", adapter=transposed_proxies)
    assert report.relation.kind == "behind-l2-ordinary" and report.relation.special == ("a proxy of zeros",)


def test_a_setting_that_is_off_by_two_per_cent_is_not_behind_an_l2_layer():
    golden_set = load_set("ms")
    wrong = wrong_port(golden_set, frozenset({"normalised_inside"}), {**golden_set.params, "SCALE_POS": 2.04})
    assert check(wrong, "ms").relation.kind == "differs"
    assert check(wrong_port(golden_set, frozenset({"normalised_inside"})), "ms").relation.kind == "behind-l2"


def test_a_factor_that_is_not_constant_is_none():
    port = RankedListLoss()
    assert check(lambda x, y: port(x, y) / len(x), "rll-cvpr19").relation.kind == "differs"
    report = check(lambda x, y: 3 * port(x, y) - 2 * port(x, y).detach(), "rll-cvpr19")
    assert report.relation.kind == "factor" and report.relation.words.endswith("constant factor 3, and equal values")


def test_unknown_relations_are_refused(samples):
    with pytest.raises(ValueError, match="accept knows no nearly; there are equal, behind-l2"):
        check(samples.Right(), accept=["nearly"])


def test_a_relation_is_in_every_format(samples):
    report = golden.check(samples.Doubled(), SET, properties=False)
    assert json.loads(report.json())["relation"]["kind"] == "factor"
    for text in (report.text(), report.markdown()):
        assert "Doubled equals contrastive-deep-metric up to the constant factor 2" in text


def test_kinds_of_batches():
    by_name = {case.name: kinds(case) for case in load_set("rll-cvpr19").cases}
    assert by_name["sop12_randn_4x3_d8"] == frozenset()
    assert "duplicates" in by_name["dup_rows_4x3_d8"] and "one class only" in by_name["all_same_label_d8"]
    assert "a class with one sample" in by_name["single_in_class_d16"]
    assert "rows that are not unit vectors" in by_name["unnormalised_4x3_d5"]
    cases = {case.name: case for case in load_set("rll-cvpr19").cases}
    plain, double, alone = (cases[n] for n in ("sop12_randn_4x3_d8", "dup_rows_4x3_d8", "all_same_label_d8"))
    assert special([double, alone], [plain]) == ["duplicates", "one class only"]
    assert special([double], [plain, double]) == [] and special([plain], [double]) == [] and special([double], []) == []


@pytest.mark.parametrize(
    ("build", "against", "words"),
    [
        (lambda s: s.labels_then_embeddings, SET, "labels come first: with --adapter labels-first it equals the set"),
        (lambda s: s.from_similarities, SET, "similarities (N, N): with --adapter pair-matrix it equals the set"),
        (
            lambda s: _transposed(),
            "normsoftmax",
            "proxies are (D, C): with --adapter transposed-proxies it equals the set",
        ),
    ],
)
def test_the_adapter_that_fits_is_named(samples, build, against, words):
    report = golden.check(build(samples), against, properties=False)
    assert not report.passed and words in report.hint and words in report.text() and words in report.markdown()


def _transposed():
    class Transposed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.W = torch.nn.Parameter(torch.zeros(2, 100, dtype=torch.float64))

        def forward(self, x, y):
            return torch.nn.functional.cross_entropy(x @ torch.nn.functional.normalize(self.W, dim=0) / 0.05, y)

    return Transposed()


def test_no_adapter_is_named_where_none_fits(samples):
    assert golden.check(samples.Means(), SET, properties=False).hint == ""
    assert golden.check(samples.raises, SET, properties=False).hint == ""


def test_sets_are_ranked_and_the_first_is_explained(samples):
    reports = identify(MultiSimilarityLoss(beta=42.0))
    assert reports[0].against in ("ms", "ms-paper") and reports[0].nearness > 0.999
    nearness = [round(r.nearness, 4) for r in reports]
    assert nearness == sorted(nearness, reverse=True) and nearness[-1] < 0.7
    reports = identify(samples.Means())
    assert reports[0].against == SET and "averaged, not summed" in reports[0].form and reports[0].nearness > 0.9999
    assert reports[0].cosine < 0.8  # the set's own formula points elsewhere
    reports = identify(samples.Doubled())
    assert (reports[0].against, reports[0].relation.kind) == (SET, "factor")
    assert "2 times the length" in " ".join(separates(samples.Doubled(), reports[0]))


def test_sets_of_other_arguments_are_tried_too():
    reports = identify(NormSoftmaxLoss(100, 2))
    assert reports[0].against == "normsoftmax" and reports[0].passed
    assert {r.against for r in reports} >= {"normsoftmax", "normsoftmax-t1"}


def test_a_loss_without_numbers_says_why(samples):
    reports = identify(samples.raises)
    assert {row.why for r in reports for row in r.rows} == {"RuntimeError: not today (sample_losses.py:62)"}
    with pytest.raises(TypeError, match="is no loss"):
        identify(samples.Right)
