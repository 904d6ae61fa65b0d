"""The part of docs/differences.md on the released Caffe losses; `test_losses_python_differences.py` puts the page together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from helpers.loss_batches import value_and_gradient
from torch import Tensor

from ports import losses

VARIANTS = {
    "RankedListLoss()": lambda: losses.RankedListLoss(),
    "RankedListLoss(release='tpami')": lambda: losses.RankedListLoss(release="tpami"),
    "RankedListLoss(variant='paper')": lambda: losses.RankedListLoss(variant="paper"),
    "RankedListLoss(variant='library')": lambda: losses.RankedListLoss(variant="library"),
}
OSM = {
    "OnlineSoftMiningLoss()": lambda: losses.OnlineSoftMiningLoss(),
    "OnlineSoftMiningLoss(variant='paper')": lambda: losses.OnlineSoftMiningLoss(variant="paper"),
}

INTRO = """## RankedListLoss and OSM + CAA: releases, paper, library

The batch of the first table (80 = 16 x 5, behind an L2 layer, float64); margin 1.2, pn_margin 0.4, T_p 0, T_n 10.
`RankedListLoss()` is the CVPR'19 release.
"""
RULES = """## What the released Caffe losses do where a user would not expect it

"The release" is the formula of its layer evaluated as it stands, in float64.
"""

Gradient = Callable[[torch.nn.Module], Tensor]


def variant_table(gradient: Gradient) -> list[str]:
    """Every pair of variants: gradient cosine, and the first's gradient norm by the second's."""
    lines = ["| one | other | gradient cosine | norm ratio |", "|---|---|---|---|"]
    for group in (VARIANTS, OSM):
        computed = {name: gradient(build()) for name, build in group.items()}
        for one, other in combinations(computed, 2):
            a, b = computed[one], computed[other]
            cosine, ratio = (a * b).sum() / (a.norm() * b.norm()), a.norm() / b.norm()
            lines.append(f"| `{one}` | `{other}` | {cosine.item():.3f} | {ratio.item():.4g} |")
    return lines


def rule_table(batch: tuple[Tensor, Tensor]) -> list[str]:
    """Facts that tests/ports/losses/test_caffe_* assert, with figures computed here."""
    lines = ["| what | the release | ours |", "|---|---|---|"]

    # Weights base^(T * hinge) beyond float64.
    far = torch.tensor([[0.0], [1e4], [1e4 + 1], [5.0]], dtype=torch.float64)
    hinge = 1e4 - 0.8
    weight = torch.tensor(2.71828, dtype=torch.float64) ** (10 * hinge)
    value, grad = value_and_gradient(losses.RankedListLoss(T_p=10.0), far, torch.tensor([0, 0, 0, 1]))
    lines.append(
        f"| RankedListLoss, distances of 1e4 at T_p = 10 | weight {weight.item()}, gradient {(weight / weight).item()} | "
        f"loss {value.item():.4g}, largest gradient entry {grad.abs().max().item():.4g} (weights of a row are rescaled) |"
    )

    # Empty batch, memory, miner.
    x, labels = batch
    x = torch.nn.functional.normalize(x)
    none = torch.zeros(0, dtype=torch.int64)
    zeros = []
    for build in [*VARIANTS.values(), *OSM.values()]:
        for arguments, options in [
            ((x[:0], labels[:0]), {}),
            ((x, labels), {"ref_emb": x[:0], "ref_labels": labels[:0]}),
            ((x, labels), {"indices_tuple": (none,) * 4}),
        ]:
            value, grad = value_and_gradient(build(), *arguments, **options)
            zeros.append(value == 0 and not grad.any())
    lines.append(
        f"| empty batch, empty memory, a miner that finds nothing | no such input (0 / 0) | "
        f"0 with zero gradient in {sum(map(bool, zeros))} of {len(zeros)} cases |"
    )

    # A label that no class has.
    try:
        losses.ClassAwareAttention()(torch.zeros(1, 4, dtype=torch.float64), torch.tensor([9]))
    except ValueError as error:
        lines.append(
            f"| class-aware attention, a label outside 0..C-1 | reads past the end of the row | refused: {error} |"
        )

    # Equal rows: the distance of every row from itself by the Gram matrix, and our gradient for a pair of them.
    norms, twins = x.square().sum(1), torch.cat([x[:1], x[:1], -x[:1]])
    gram = (norms + norms - 2 * (x @ x.T).diagonal()).abs().sqrt().max()
    _, grad = value_and_gradient(losses.RankedListLoss(release="tpami"), twins, torch.tensor([0, 1, 2]))
    lines.append(
        f"| equal rows of different labels (`tpami` divides by d + 1e-6) | d = 0, force 0 (the common Gram matrix makes d "
        f"up to {gram.item():.0e} of it) | distance exactly 0, largest gradient entry {grad[:2].abs().max().item():.0f} |"
    )

    # ContrastiveLossV2: who is pushed.
    first, second = torch.triu_indices(len(x), len(x), 1)
    similar = (labels[first] == labels[second]).long()
    pushed = {}
    for release in ("cvpr19", "tpami"):
        loss = losses.CaffeContrastiveLossV2(1.2, release=release)
        pushed[release] = int((value_and_gradient(loss, x[first], x[second], similar)[1] != 0).any(1).sum())
    lines.append(
        f"| `CaffeContrastiveLossV2`, pairs with a force | cvpr19: where the hinge is active, {pushed['cvpr19']} of "
        f"{len(first)}; tpami: all, {pushed['tpami']} (RankedListLoss's weights are 0 where they should not be) | the same |"
    )
    value, grad = value_and_gradient(losses.OnlineSoftMiningLoss(), x, labels)
    _, paper = value_and_gradient(losses.OnlineSoftMiningLoss(variant="paper"), x, labels)
    lines.append(
        f"| OSM's gradient is divided by the number of pairs twice | {grad.norm().item():.3g} (norm) | the same; "
        f"`paper` {paper.norm().item():.3g}, {(paper.norm() / grad.norm()).item():.0f} times as much |"
    )
    return lines
