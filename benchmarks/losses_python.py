"""Forward and backward of the Python originals' losses: ours, a loop over anchors as the originals have it, and the peer.

    python -m benchmarks losses_python --threads 1,2

All figures of a row come from one process, the contestants taking turns; medians in milliseconds, CPU.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._paired import paired
from ports import losses

# No loss of the peer has these objectives: the row stands beside its nearest one.
NEAREST = (
    "RankedList",
    "RankedList tpami",
    "Contrastive",
    "LiftedStructure",
    "BinomialDeviance",
    "NCA neighbours",
    "SemiHard",
)

Step = Callable[[Tensor, Tensor], Tensor]


def batch(classes: int, per_class: int, dim: int = 512) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(per_class)
    x = torch.randn(classes, dim, generator=g)[labels] + 1.6 * torch.randn(len(labels), dim, generator=g)
    return torch.nn.functional.normalize(x), labels


def anchor_loop(term: Callable[[Tensor, Tensor], Tensor | None]) -> Step:
    """The originals' shape: per anchor, select its positives and negatives, mine, add a term."""

    def step(x: Tensor, labels: Tensor) -> Tensor:
        sim = x @ x.T
        terms = []
        for i in range(len(x)):
            same = labels == labels[i]
            positive = sim[i][same]
            positive = positive[positive < 1 - 1e-5]
            each = term(positive, sim[i][~same])
            if each is not None:
                terms.append(each)
        return sum(terms, x.sum() * 0) / len(x)

    return step


def ms_term(positive: Tensor, negative: Tensor) -> Tensor | None:
    hard_negative = negative[negative + 0.1 > positive.min()]
    hard_positive = positive[positive - 0.1 < negative.max()]
    if len(hard_negative) < 1 or len(hard_positive) < 1:
        return None
    attract = torch.log(1 + torch.sum(torch.exp(-2 * (hard_positive - 0.5)))) / 2
    return attract + torch.log(1 + torch.sum(torch.exp(40 * (hard_negative - 0.5)))) / 40


def contrastive_term(positive: Tensor, negative: Tensor) -> Tensor:
    return (1 - positive).sum() + negative[negative > 0.5].sum()


def lifted_term(positive: Tensor, negative: Tensor) -> Tensor:
    return torch.log(torch.exp(-2 * positive).sum()) + torch.log(torch.exp(40 * negative).sum()) / 20


def binomial_term(positive: Tensor, negative: Tensor) -> Tensor:
    return (
        torch.log(1 + torch.exp(-2 * (positive - 0.5))).mean() + torch.log(1 + torch.exp(40 * (negative - 0.5))).mean()
    )


def batch_all_loop(x: Tensor, labels: Tensor) -> Tensor:
    d = ((x.square().sum(1)[:, None] + x.square().sum(1)[None]) - 2 * x @ x.T).clamp_min(1e-12).sqrt()
    terms = []
    for i in range(len(x)):
        same = labels == labels[i]
        same[i] = False
        terms.append((d[i][same][:, None] - d[i][labels != labels[i]][None, :] + 0.2).clamp_min(0).mean())
    return torch.stack(terms).mean()


def peer_with_miner(peer: object, miners: object) -> Step:
    loss, miner = peer.MultiSimilarityLoss(2, 40, 0.5), miners.MultiSimilarityMiner(0.1)  # type: ignore[attr-defined]
    return lambda x, y: loss(x, y, miner(x, y))


def contestants(dim: int) -> list[tuple[str, Step, Step | None, Step]]:
    """(name, ours, the loop, the peer's loss with the same objective or the nearest)."""
    from pytorch_metric_learning import losses as peer
    from pytorch_metric_learning import miners as peer_miners

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer warns of the paper's own T = 10
        ranked = peer.RankedListLoss(margin=0.4, Tn=10, alpha=1.2)
    return [
        ("RankedList", losses.RankedListLoss(), None, ranked),
        ("RankedList tpami", losses.RankedListLoss(release="tpami"), None, ranked),
        ("MultiSimilarity", losses.MultiSimilarityLoss(), anchor_loop(ms_term), peer_with_miner(peer, peer_miners)),
        (
            "MultiSimilarity, no miner",
            losses.MultiSimilarityLoss(variant="library"),
            None,
            peer.MultiSimilarityLoss(2, 50, 0.5),
        ),
        ("Contrastive", losses.ContrastiveLoss(), anchor_loop(contrastive_term), peer.ContrastiveLoss()),
        (
            "LiftedStructure",
            losses.LiftedStructureLoss(),
            anchor_loop(lifted_term),
            peer.GeneralizedLiftedStructureLoss(),
        ),
        ("LiftedStructure paper", losses.LiftedStructureLoss(variant="paper"), None, peer.LiftedStructureLoss()),
        ("BinomialDeviance", losses.BinomialDevianceLoss(), anchor_loop(binomial_term), peer.ContrastiveLoss()),
        ("NCA paper", losses.NCALoss(variant="paper"), None, peer.NCALoss()),
        ("NCA neighbours", losses.NCALoss(), None, peer.NCALoss()),
        ("SemiHard", losses.SemiHardLoss(), None, peer.TripletMarginLoss()),
        ("BatchAll", losses.BatchAllLoss(), batch_all_loop, peer.TripletMarginLoss(0.2)),
        ("Margin", losses.MarginLoss(), None, margin_peer(peer, peer_miners)),
        ("NormSoftmax", losses.NormSoftmaxLoss(11318, dim), None, peer.NormalizedSoftmaxLoss(11318, dim)),
        ("ProxyNCA", losses.ProxyNCALoss(1000, dim), None, peer.ProxyNCALoss(1000, dim)),
    ]


def margin_peer(peer: object, miners: object) -> Step:
    loss, miner = peer.MarginLoss(), miners.DistanceWeightedMiner()  # type: ignore[attr-defined]
    return lambda x, y: loss(x, y, miner(x, y))


def interleaved(steps: list[Step], x: Tensor, labels: Tensor, repeats: int) -> list[list[float]]:
    """Milliseconds of each step's turns; they take turns, so that a disturbance hits all alike."""
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(repeats + 1):
        for step, record in zip(steps, times):
            inputs = x.clone().requires_grad_()
            start = time.perf_counter()
            step(inputs, labels).backward()
            if turn:
                record.append((time.perf_counter() - start) * 1e3)
    return times


def run(quick: bool = False) -> list[dict]:
    torch.manual_seed(0)
    rows = []
    shapes = [(36, 512)] if quick else [(classes, dim) for classes in (12, 36, 100, 200) for dim in (128, 512)]
    for classes, dim in shapes:
        x, labels = batch(classes, 5, dim)
        for name, ours, loop, peer in contestants(dim):
            n = len(x)
            if n > 500 and name in ("LiftedStructure paper", "SemiHard", "BatchAll", "Margin"):
                continue  # the peer's tensor over all triplets does not fit
            steps = [ours, peer] + ([loop] if loop and n <= 180 else [])
            taken = interleaved(steps, x, labels, 3 if quick else 5 if n > 500 else 15)
            loop = paired(taken[2], taken[0]) if len(taken) > 2 else None
            note = f"loop {loop['ours']:.1f} ms = {loop['ratio']:.0f}x ours" if loop else ""
            if name in NEAREST:
                note = f"{note}; peer's nearest loss".removeprefix("; ")
            rows.append(
                {
                    "name": f"{name} N={n} D={x.shape[1]}",
                    **paired(taken[0], taken[1]),
                    "unit": "ms",
                    "note": note,
                }
            )
    return rows
