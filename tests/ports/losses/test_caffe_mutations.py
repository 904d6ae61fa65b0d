"""Known wrong ports of the released losses, each caught by a recorded case at the tolerance that the right one meets.

The losses are written here a second time, obviously (N x N x D differences, autograd of a surrogate), with a switch for every
mistake that a public port of them makes.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.paths import DATA

COPY = DATA / "losses_caffe"
CASES = json.loads((COPY / "cases.json").read_text())
RTOL = 1e-10  # of the largest entry: the tolerance of test_losses_caffe.py in float64


def load(layer: str, tree: str) -> list[tuple[dict, dict]]:
    chosen = [n for n, c in CASES.items() if n.startswith(f"{tree}/{layer}/") and c["stored"]]
    with np.load(COPY / "cases.npz") as npz:
        found = []
        for name in chosen:
            arrays = {
                k.rsplit(":", 1)[1]: npz[k] for k in npz.files if k.startswith((f"{name}:input:", f"{name}:float64:"))
            }
            found.append((CASES[name]["params"], {k: torch.from_numpy(v).double() for k, v in arrays.items()}))
    return found


def f32(value: float) -> float:
    return float(np.float32(value))


def distance_of(difference: torch.Tensor) -> torch.Tensor:
    squared = difference.square().sum(-1)
    return torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)


def ranked_list(x, labels, wrong, *, margin=1.4, pn_margin=0.4, T_p=1.0, T_n=1.0, legacy_version=False, tpami=False):
    """Surrogate whose autograd gradient is the released one, but for the mistake `wrong` (None: no mistake)."""
    margin, pn_margin, rate = f32(margin), f32(pn_margin), np.log(f32(2.71828))
    if wrong == "exp instead of 2.71828":
        rate = 1.0
    if wrong == "double 1.2 instead of 1.2f":
        margin, pn_margin = round(margin, 6), round(pn_margin, 6)
    near, far = (1 - pn_margin / 2, 1 + pn_margin / 2) if tpami else (margin - pn_margin, margin)
    same = labels[:, None] == labels[None, :]
    eye = torch.eye(len(x), dtype=torch.bool)
    partner = x if wrong == "partner not detached" else x.detach()
    difference = x[:, None] - partner[None, :]
    d = distance_of(difference)
    hinge = torch.where(same, d - near, far - d)
    active = (hinge > 0) & ~eye
    dtype = torch.float32 if wrong == "temperature times log(base) in float32" else torch.float64
    rates = torch.where(same, T_p, T_n).to(dtype) * rate
    weight = torch.where(active, torch.exp(rates * torch.where(active, hinge, 0.0)), 0.0)
    if wrong != "weights in the graph":
        weight = weight.detach()
    epsilon = 1e-5 if wrong == "1e-5 instead of 1e-8" else 1e-8
    s_p, s_n = ((weight * m).sum(1, keepdim=True) + epsilon for m in (same, ~same))
    share = ((s_p + s_n) / (epsilon + (s_p + s_n).sum())).detach()
    if wrong == "mean over anchors":
        share = torch.full_like(share, 1 / len(x))
    half = 1.0 if wrong == "no half for each set" else 0.5
    energy = 0.5 * difference.square().sum(-1)
    if wrong == "hinge as energy":
        energy = torch.where(same, 0.5 * hinge.square(), -0.5 * hinge.square())
    elif tpami != (wrong == "the other release's force"):
        energy = d if wrong == "the other release's force" else energy / (d.detach() + 1e-6)
    force = weight / torch.where(same, s_p, -s_n) * share * half
    if legacy_version and not tpami:
        force = torch.where(~same & (d.square() >= margin), 0.0, force)
    return (force * energy).sum()


RLL_MISTAKES = [
    "weights in the graph",
    "partner not detached",
    "the other release's force",
    "hinge as energy",
    "mean over anchors",
    "exp instead of 2.71828",
    "double 1.2 instead of 1.2f",
    "temperature times log(base) in float32",
    "no half for each set",
    "1e-5 instead of 1e-8",
]


def rll_error(tree: str, wrong: str | None) -> float:
    """Largest error over the recorded cases, in units of the largest entry of each gradient."""
    worst = 0.0
    for params, arrays in load("DistanceWeightedValidPairLossV12", tree):
        params = dict(params)
        params.pop("negative_threshold", None)  # only enters the reported value
        x = arrays["bottom_0"].clone().requires_grad_()
        loss = ranked_list(x, arrays["bottom_1"], wrong, **params, tpami=tree == "rll_tpami")
        (arrays["top_0_diff"] * loss).backward()
        largest = arrays["bottom_0_diff"].abs().max()
        error = (x.grad - arrays["bottom_0_diff"]).abs().max()
        worst = max(worst, float(error / largest) if largest > 0 else float(error))
    return worst


@pytest.mark.parametrize("tree", ["rll_cvpr19", "rll_tpami"])
def test_the_plain_ranked_list_is_right(tree):
    assert rll_error(tree, None) < RTOL


@pytest.mark.parametrize("tree", ["rll_cvpr19", "rll_tpami"])
@pytest.mark.parametrize("wrong", RLL_MISTAKES)
def test_wrong_ranked_lists_are_caught(tree, wrong):
    assert rll_error(tree, wrong) > 10 * RTOL


def osm(x, labels, scores, wrong, *, margin, sigma, mean):
    """(N, D) gradient of the released V5 layer, pair by pair."""
    margin, sigma, mean = f32(margin), f32(sigma), f32(mean)
    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    forces, weights = [], []
    for i, j in pairs:
        d = float((x[i] - x[j]).norm())
        hinge = max(0.0, margin - d)
        attention = float(scores[i] * scores[j] if wrong == "product of scores" else min(scores[i], scores[j]))
        z = (d - mean) / sigma
        positive = bool(labels[i] == labels[j])
        weight = np.exp(-z * z * (1.0 if wrong == "no 1/2 in the Gaussian" else 0.5)) / np.sqrt(2 * np.pi * sigma**2)
        weights.append((positive, attention * (weight if positive else hinge)))
        unit = 0.0 if wrong == "no 1e-4 in the force" else 1e-4
        strength = 1.0 if positive else -hinge / (d + unit) if d + unit > 0 else 0.0
        if wrong == "hinge not in the force" and not positive:
            strength = -float(hinge > 0)
        forces.append(strength * (x[i] - x[j]))
    total = {sign: sum(w for s, w in weights if s == sign) + 1e-12 for sign in (True, False)}
    if wrong == "one sum for both signs":
        total = dict.fromkeys((True, False), sum(total.values()))
    gradient = torch.zeros_like(x)
    scale = 1.0 if wrong == "no 1/P" else 1 / len(pairs)
    for (i, j), (sign, w), force in zip(pairs, weights, forces):
        gradient[i] += 0.5 * w / total[sign] * scale * force
        gradient[j] -= 0.5 * w / total[sign] * scale * force
    return gradient


def osm_error(wrong: str | None) -> float:
    worst = 0.0
    for params, arrays in load("DistanceWeightedValidPairLossV5", "osm_aaai19"):
        if len(arrays["bottom_0"]) <= 24:
            ours = osm(*(arrays[f"bottom_{i}"] for i in range(3)), wrong, **params) * arrays["top_0_diff"]
            error = (ours - arrays["bottom_0_diff"]).abs().max() / arrays["bottom_0_diff"].abs().max()
            worst = max(worst, float(error))
    return worst


OSM_MISTAKES = [
    "no 1/P",
    "no 1/2 in the Gaussian",
    "product of scores",
    "one sum for both signs",
    "hinge not in the force",
    "no 1e-4 in the force",
]


def test_the_plain_osm_is_right():
    assert osm_error(None) < RTOL


@pytest.mark.parametrize("wrong", OSM_MISTAKES)
def test_wrong_osm_is_caught(wrong):
    assert osm_error(wrong) > 10 * RTOL
