"""Every setting of every golden set is noticed when it is moved by 2 %, or the set says why not."""

from __future__ import annotations

from functools import cache

import pytest

import golden
from golden import inert
from golden.references import reference_for
from golden.sets import load_set, set_names
from golden.sharpness import moves, sentences, settings_of, sharpness
from ports import losses


@cache
def moved(name):
    return sharpness(load_set(name))


@pytest.mark.parametrize("name", set_names())
def test_each_setting_is_noticed_or_inert_with_a_reason(name):
    silent = [(m.setting, m.by) for m in moved(name) if not m.cases and not m.why]
    assert not silent
    assert moved(name) or name == "weighted-softmax", "no setting at all was moved"


def test_no_reason_is_given_for_what_is_noticed():
    """A reason that has become untrue, or that names no setting of any set, is to go."""
    used = {(m.why, m.setting) for name in set_names() for m in moved(name) if m.why}
    listed = {
        (why, key.split()[0] if key[-1] in "+-" else key)
        for told in inert.REASONS.values()
        for key, why in told.items()
    }
    assert listed == used


def test_the_sets_settings_and_the_hidden_ones_are_all_moved():
    def settings(name):
        golden_set = load_set(name)
        return set(settings_of(golden_set, reference_for(golden_set.family)))

    assert settings("binomial-mined") == {"alpha", "beta", "margin", "hard_mining", "cutoff", "mining margin"}
    assert settings("nca") == {"alpha", "k", "cutoff"}
    assert settings("rll-cvpr19") == {"margin", "pn_margin", "T_p", "T_n", "legacy_version"}
    assert settings("caa") == {"sigma", "mean", "attention sigma", "attention mean"}
    for name in set_names():
        numbers = {
            k for k, v in load_set(name).params.items() if isinstance(v, int | float) and not isinstance(v, bool)
        }
        assert numbers <= settings(name)


def test_how_far_settings_are_moved():
    assert moves(0.5, count=False) == [("+2 %", 0.51), ("-2 %", 0.49)]
    assert moves(0, count=False) == [("+0.02", 0.02), ("-0.02", -0.02)]
    assert moves(5, count=True) == [("+1", 6), ("-1", 4)]
    assert moves(100, count=True) == [("+2 %", 102), ("-2 %", 98)]
    assert moves(True, count=False) == [("turned", False)]


@pytest.mark.parametrize("margin", [0.4, 0.45, 0.48, 0.49, 0.499, 0.501, 0.51, 0.52])
def test_deep_metrics_contrastive_loss_with_another_margin_differs(margin):
    """Of our port, not of the formula. The first batches had no negative near the threshold and let all of these pass."""
    port = losses.ContrastiveLoss(margin=margin)
    assert not golden.check(port, "contrastive-deep-metric", properties=False, diagnosis=False).passed


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (losses.BinomialDevianceLoss(beta=2, hard_mining=True, cutoff=0.98), "binomial-mined"),
        (losses.BinomialDevianceLoss(alpha=40.8, beta=2, hard_mining=True), "binomial-mined"),
        (losses.BinomialDevianceLoss(beta=2.04, hard_mining=True), "binomial-mined"),
        (losses.NCALoss(k=31), "nca"),
        (losses.NCALoss(k=33), "nca"),
        (losses.NCALoss(k=5, cutoff=0.98), "nca-k5"),
        (losses.LiftedStructureLoss(cutoff=1.02), "lifted"),
        (losses.WeightLoss(alpha=10, hard_mining=True), "weight"),
        (losses.MultiSimilarityLoss(cutoff=0.98), "ms"),
        (losses.HardMiningLoss(cutoff=0.98), "hard-mining"),
    ],
)
def test_options_that_defaults_hide_are_noticed_of_our_ports_too(loss, name):
    assert not golden.check(loss, name, properties=False, diagnosis=False).passed


def test_a_check_says_what_it_is_sharp_to():
    lines = golden.check(losses.ContrastiveLoss(), "contrastive-deep-metric", properties=False).text().splitlines()
    assert lines[-3:-1] == ["settings noticed at 2 %: cutoff, margin", ""]
    report = golden.check(losses.NCALoss(k=5), "nca-k5", properties=False)
    assert report.sharpness[0] == "settings noticed at 2 %: alpha, k"
    assert report.sharpness[1].startswith("not noticed: cutoff +2 % (the anchor itself becomes")
    assert report.sharpness == report.as_dict()["sharpness"]


def test_the_sentence_is_about_that_check():
    """Fewer cases or a wider tolerance notice less, and the last lines say so."""
    port = losses.ContrastiveLoss()
    few = golden.check(port, "contrastive-deep-metric", cases=["g08*"], properties=False)
    assert "not noticed: margin" in "\n".join(few.sharpness)
    wide = golden.check(port, "contrastive-deep-metric", tolerance=10.0, properties=False)
    assert wide.sharpness[0] == "settings noticed at 2 %: none"
    assert not sentences([])
