"""Forward and backward of every loss of `ports.losses` beside its nearest peer:

    python -m benchmarks losses --threads 1,2

All figures of a row come from one process, the contestants taking turns; medians in milliseconds, CPU: of processor time with
one thread (what others do on the machine then hardly matters), of wall time with more. The peer is pytorch-metric-learning's
loss of the same objective, or the nearest one it has (the note says so), or torch's. Some originals are there as the loop
over anchors that they are.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._paired import now, paired
from ports import losses

Step = Callable[[Tensor, Tensor], Tensor]

CLASSES, EACH = (12, 36, 100, 200), 5  # N = 60, 180, 500, 1,000
SECONDS = 0.15  # for a row's turns
TOO_SLOW = 0.5  # seconds of a peer's step at one N: it is left out of the larger ones


@dataclass
class Contest:
    name: str
    ours: Step
    peer: Step
    note: str = ""
    loop: Step | None = None


def batch(classes: int, per_class: int, dim: int = 512) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(per_class)
    x = torch.randn(classes, dim, generator=g)[labels] + 1.6 * torch.randn(len(labels), dim, generator=g)
    return nn.functional.normalize(x), labels


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


def mined(loss: Any, miner: Any) -> Step:
    return lambda x, y: loss(x, y, miner(x, y))


def on_pairs(loss: Any, parts: int, *, similar: bool = False) -> Step:
    """The batch cut into `parts` lists of rows: (a, b) with `similar`, or (anchors, positives, negatives)."""

    def step(x: Tensor, labels: Tensor) -> Tensor:
        size = len(x) // parts
        rows = [x[i * size : (i + 1) * size] for i in range(parts)]
        return loss(*rows, (labels[:size] == labels[size : 2 * size]).float()) if similar else loss(*rows)

    return step


def cosine_embedding(a: Tensor, b: Tensor, similar: Tensor) -> Tensor:
    return nn.functional.cosine_embedding_loss(a, b, 2 * similar - 1, margin=0.5)


def contests(classes: int, dim: int) -> list[Contest]:
    from pytorch_metric_learning import losses as theirs
    from pytorch_metric_learning import miners

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer warns of the paper's own T = 10
        ranked = theirs.RankedListLoss(margin=0.4, Tn=10, alpha=1.2)
    contrastive, triplet = theirs.ContrastiveLoss(), theirs.TripletMarginLoss(0.2)
    similar = theirs.MultiSimilarityLoss(2, 50, 0.5)
    hard = mined(theirs.ContrastiveLoss(), miners.MultiSimilarityMiner(0.1))
    hardest = mined(theirs.TripletMarginLoss(0.2), miners.BatchHardMiner())
    as_contrastive = "no peer has it; nearest: ContrastiveLoss"
    as_hard = "no peer has it; nearest: ContrastiveLoss with MultiSimilarityMiner"
    as_ranked = "peer's gradient is another"
    as_triplet = "no peer has it; nearest: TripletMarginLoss"
    proxies = 11318  # SOP's training classes
    logits = nn.Linear(dim, classes)

    def of_logits(loss: Any, *more: Tensor) -> Step:
        return lambda x, y: loss(logits(x), y, *more)

    attention = losses.ClassAwareAttention()
    osm, valid = losses.OnlineSoftMiningLoss, losses.ValidPairLoss
    return [
        Contest("RankedListLoss", losses.RankedListLoss(), ranked, as_ranked),
        Contest("RankedListLoss tpami", losses.RankedListLoss(release="tpami"), ranked, as_ranked),
        Contest("RankedListLoss paper", losses.RankedListLoss(variant="paper"), ranked, as_ranked),
        Contest("RankedListLoss library", losses.RankedListLoss(variant="library"), ranked),
        Contest("OnlineSoftMiningLoss", osm(), contrastive, as_contrastive),
        Contest("OnlineSoftMiningLoss paper", osm(variant="paper"), contrastive, as_contrastive),
        *(Contest(f"ValidPairLoss {kind}", valid(kind), contrastive, as_contrastive) for kind in ("V", "V3", "V4", "weighted_pair")),
        Contest("HardestPairLoss", losses.HardestPairLoss(), hardest, "no peer has it; nearest: TripletMarginLoss with BatchHardMiner"),
        Contest("ClassAwareAttention", lambda x, y: attention(logits(x), y).loss, of_logits(nn.functional.cross_entropy), "no peer has it; nearest: cross entropy; both with a linear layer"),
        Contest("UnifiedWeightLoss", of_logits(losses.UnifiedWeightLoss()), of_logits(nn.functional.cross_entropy), "no peer has it; nearest: cross entropy; both with a linear layer"),
        Contest("CaffeContrastiveLoss", on_pairs(losses.CaffeContrastiveLoss(), 2, similar=True), on_pairs(cosine_embedding, 2, similar=True), "N / 2 pairs; nearest: torch's cosine_embedding_loss"),
        Contest("CaffeContrastiveLossV2", on_pairs(losses.CaffeContrastiveLossV2(), 2, similar=True), on_pairs(cosine_embedding, 2, similar=True), "N / 2 pairs; nearest: torch's cosine_embedding_loss"),
        Contest("CaffeTripletLoss", on_pairs(losses.CaffeTripletLoss(), 3), on_pairs(nn.TripletMarginLoss(), 3), "N / 3 triplets; peer: torch's TripletMarginLoss"),
        Contest("MultiSimilarityLoss", losses.MultiSimilarityLoss(), mined(theirs.MultiSimilarityLoss(2, 40, 0.5), miners.MultiSimilarityMiner(0.1)), "", anchor_loop(ms_term)),
        Contest("MultiSimilarityLoss library", losses.MultiSimilarityLoss(variant="library"), similar),
        Contest("WeightLoss", losses.WeightLoss(), similar, "no peer has it; nearest: MultiSimilarityLoss"),
        Contest("ContrastiveLoss", losses.ContrastiveLoss(), contrastive, as_contrastive, anchor_loop(contrastive_term)),
        Contest("ContrastiveLoss paper", losses.ContrastiveLoss(variant="paper"), contrastive, as_contrastive),
        Contest("ContrastiveLoss library", losses.ContrastiveLoss(variant="library"), contrastive),
        Contest("LiftedStructureLoss", losses.LiftedStructureLoss(), theirs.GeneralizedLiftedStructureLoss(), "no peer has it; nearest: GeneralizedLiftedStructureLoss", anchor_loop(lifted_term)),
        Contest("LiftedStructureLoss paper", losses.LiftedStructureLoss(variant="paper"), theirs.LiftedStructureLoss()),
        Contest("BinomialDevianceLoss", losses.BinomialDevianceLoss(), contrastive, as_contrastive, anchor_loop(binomial_term)),
        Contest("BinomialDevianceLoss paper", losses.BinomialDevianceLoss(variant="paper"), contrastive, as_contrastive),
        Contest("BinDevianceLoss", losses.BinDevianceLoss(), contrastive, as_contrastive),
        Contest("NCALoss", losses.NCALoss(), theirs.NCALoss(), "no peer has it; nearest: NCALoss, which seeks no neighbours"),
        Contest("NCALoss paper", losses.NCALoss(variant="paper"), theirs.NCALoss()),
        Contest("NeighbourNCALoss", losses.NeighbourNCALoss(), theirs.NCALoss(), "no peer has it; nearest: NCALoss, which seeks no neighbours"),
        Contest("HardMiningLoss", losses.HardMiningLoss(), hard, as_hard),
        Contest("TripletHardMiningLoss", losses.TripletHardMiningLoss(), hard, as_hard),
        Contest("XbmTripletLoss", losses.XbmTripletLoss(), hard, as_hard),
        Contest("BatchHardLoss", losses.BatchHardLoss(), hardest),
        Contest("SemiHardLoss", losses.SemiHardLoss(), triplet, as_triplet),
        Contest("SemiHardLoss paper", losses.SemiHardLoss(variant="paper"), mined(theirs.TripletMarginLoss(0.2), miners.TripletMarginMiner(0.2, "semihard"))),
        Contest("BatchAllLoss", losses.BatchAllLoss(), triplet, "", batch_all_loop),
        Contest("BatchAllLoss paper", losses.BatchAllLoss(variant="paper"), triplet),
        Contest("MarginLoss", losses.MarginLoss(), mined(theirs.MarginLoss(), miners.DistanceWeightedMiner())),
        Contest("NormSoftmaxLoss", losses.NormSoftmaxLoss(proxies, dim), theirs.NormalizedSoftmaxLoss(proxies, dim), f"{proxies} classes"),
        Contest("ProxyNCALoss", losses.ProxyNCALoss(1000, dim), theirs.ProxyNCALoss(1000, dim), "1,000 classes"),
    ]  # fmt: skip


def interleaved(steps: list[Step], x: Tensor, labels: Tensor, *, seconds: float = SECONDS) -> list[list[float]]:
    """Milliseconds of each step's turns; they take turns, so that a disturbance hits all alike. From 5 to 25 turns."""
    times: list[list[float]] = [[] for _ in steps]
    start_of_all = time.perf_counter()
    for turn in range(26):
        for step, record in zip(steps, times):
            inputs = x.clone().requires_grad_()
            start = now()
            step(inputs, labels).backward()
            if turn:
                record.append((now() - start) * 1e3)
        if turn >= 5 and time.perf_counter() - start_of_all > seconds:
            break
    return times


def run(quick: bool = False) -> list[dict]:
    torch.manual_seed(0)
    rows: list[dict] = []
    for dim in (512,) if quick else (128, 512):
        slow: set[str] = set()
        for classes in (12,) if quick else CLASSES:
            x, labels = batch(classes, EACH, dim)
            for contest in contests(classes, dim):
                if contest.name in slow:
                    continue
                steps = [contest.ours, contest.peer] + ([contest.loop] if contest.loop and len(x) <= 180 else [])
                taken = interleaved(steps, x, labels, seconds=0 if quick else SECONDS)
                loop = paired(taken[2], taken[0]) if len(taken) > 2 else None
                notes = [contest.note, f"loop {loop['ours']:.1f} ms = {loop['ratio']:.0f}x ours" if loop else ""]
                both = paired(taken[0], taken[1])
                rows.append(
                    {
                        "name": f"{contest.name} N={len(x)} D={dim}",
                        **both,
                        "target": "<= 0.9",
                        "unit": "ms",
                        "note": "; ".join(note for note in notes if note),
                    }
                )
                if both["peer"] > 1e3 * TOO_SLOW:
                    slow.add(contest.name)
    return rows
