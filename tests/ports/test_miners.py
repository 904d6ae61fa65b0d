"""Miners: the recorded triplets replayed, an obvious NumPy version, and properties of our own sampling."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ports import miners


def unit_rows(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=g, dtype=torch.float64))


@pytest.mark.parametrize("run", ["f64", "f32"])
@pytest.mark.parametrize("config", ["margin_beta_class", "margin_beta_const"])
def test_distance_weights_replay_every_recorded_triplet(reference: Path, config: str, run: str) -> None:
    """The original's random stream over our probabilities draws the original's triplets, all of them."""
    python = reference / "python"
    entries = json.loads((python / "manifest.json").read_text())["entries"]
    entries = [e for e in entries if e.get("config") == config and e["outcome"][run] == "ok"]
    assert len(entries) == 10
    for entry in entries:
        case = np.load(python / entry["path"])
        inputs = np.load(python / entry["input_file"])
        labels = inputs["labels"]
        x = torch.tensor(inputs["embeddings"]).to(torch.float64 if run == "f64" else torch.float32)
        weight = miners.distance_weights(x, torch.tensor(labels)).double().numpy()
        stream = np.random.RandomState(entry["results"][run]["np_seed"])
        drawn = []
        for i in range(len(labels)):
            positive = stream.choice([j for j in range(len(labels)) if labels[j] == labels[i] and j != i])
            drawn.append((i, positive, stream.choice(len(labels), p=weight[i] / weight[i].sum())))
        assert np.array_equal(drawn, case["triplets" if run == "f64" else "triplets_f32"]), entry["case"]


def test_distance_weights_by_the_formula() -> None:
    x, labels, cutoff = unit_rows(9, 16), torch.arange(9) // 3, 0.5
    expected = np.zeros((9, 9))
    for i in range(9):
        for j in range(9):
            if labels[i] != labels[j]:
                d = max(float((x[i] - x[j]).norm()), cutoff)
                expected[i, j] = 1 / (d ** (16 - 2) * (1 - d * d / 4) ** ((16 - 3) / 2))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(miners.distance_weights(x, labels).numpy(), expected, rtol=1e-10)


def test_drawn_triplets_follow_the_weights_and_the_seed() -> None:
    x, labels = unit_rows(12, 8), torch.arange(12) // 4
    weight = miners.distance_weights(x, labels)
    draws, count = 4000, torch.zeros(12, 12, dtype=torch.float64)
    positive_count = torch.zeros(12, 12)
    generator = torch.Generator().manual_seed(3)
    for _ in range(draws):
        a, p, n, valid = miners.distance_weighted_triplets(x, labels, generator=generator)
        count[a, n] += 1
        positive_count[a, p] += 1
        assert valid.all()
    same = labels[:, None] == labels[None, :]
    assert not count[same].any() and not positive_count[~same].any() and not positive_count.diagonal().any()
    # Five standard deviations of a binomial share.
    assert ((count / draws - weight).abs() <= 5 * (weight * (1 - weight) / draws).sqrt() + 1e-9).all()
    others = same & ~torch.eye(12, dtype=torch.bool)
    assert ((positive_count[others] / draws - 1 / 3).abs() < 5 * math.sqrt(2 / 9 / draws)).all()
    again = [
        miners.distance_weighted_triplets(x, labels, generator=torch.Generator().manual_seed(3))[2] for _ in range(2)
    ]
    assert torch.equal(*again)


def test_anchors_that_cannot_form_a_triplet_are_marked() -> None:
    x = unit_rows(5, 8)
    *_, valid = miners.distance_weighted_triplets(x, torch.tensor([0, 0, 1, 1, 2]))
    assert valid.tolist() == [True, True, True, True, False]
    assert not miners.distance_weighted_triplets(x, torch.zeros(5))[3].any()
    assert not miners.distance_weighted_triplets(x, torch.arange(5))[3].any()


def test_rows_longer_than_one_stay_finite() -> None:
    """The original's 1 - d^2/4 turns negative for d > 2 and its probabilities NaN."""
    weight = miners.distance_weights(3 * unit_rows(6, 4), torch.arange(6) // 2)
    assert torch.isfinite(weight).all()
    torch.testing.assert_close(weight.sum(1), torch.ones(6, dtype=torch.float64))


def test_mined_pairs_equal_the_obvious_loop_and_the_peer() -> None:
    x, labels = unit_rows(24, 6), torch.arange(24) // 4
    sim = x @ x.T
    same, eye = labels[:, None] == labels[None, :], torch.eye(24, dtype=torch.bool)
    positive, negative = miners.multi_similarity_pairs(sim, same & ~eye, ~same, 0.1)
    for i in range(24):
        hardest_positive = min(float(sim[i, j]) for j in range(24) if same[i, j] and j != i)
        hardest_negative = max(float(sim[i, j]) for j in range(24) if not same[i, j])
        for j in range(24):
            s = float(sim[i, j])
            assert bool(negative[i, j]) == (not same[i, j] and s + 0.1 > hardest_positive)
            assert bool(positive[i, j]) == (bool(same[i, j]) and i != j and s - 0.1 < hardest_negative)
    hard = miners.hard_pairs(sim, same & ~eye, ~same, 0.1)
    assert torch.equal(hard[0], positive) and torch.equal(hard[1], negative)
    peer = pytest.importorskip("pytorch_metric_learning.miners").MultiSimilarityMiner(epsilon=0.1)
    ours, theirs = miners.to_indices(positive, negative), peer(x, labels)
    for a, b in ((0, 1), (2, 3)):
        assert set(zip(ours[a].tolist(), ours[b].tolist())) == set(zip(theirs[a].tolist(), theirs[b].tolist()))
