"""Peak memory of every loss, forward and backward: python -m benchmarks.losses_memory [--quick].

`ours` is the most bytes of tensors held at one moment of a step beyond the inputs, in MB; `peer` is the budget, two matrices
over all pairs and one gradient, 2 N*N + N*D float32 numbers. Allocations are those that torch's CPU allocator reports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from benchmarks.losses_caffe import batch, peak_bytes, row, step
from ports import losses

LOSSES: dict[str, Callable[[], torch.nn.Module]] = {
    "RankedListLoss": lambda: losses.RankedListLoss(),
    "RankedListLoss tpami": lambda: losses.RankedListLoss(release="tpami"),
    "RankedListLoss paper": lambda: losses.RankedListLoss(variant="paper"),
    "RankedListLoss library": lambda: losses.RankedListLoss(variant="library"),
    "OnlineSoftMiningLoss": lambda: losses.OnlineSoftMiningLoss(),
    "OnlineSoftMiningLoss paper": lambda: losses.OnlineSoftMiningLoss(variant="paper"),
    "ValidPairLoss V": lambda: losses.ValidPairLoss("V"),
    "ValidPairLoss V2": lambda: losses.ValidPairLoss("V2"),
    "ValidPairLoss V3": lambda: losses.ValidPairLoss("V3"),
    "ValidPairLoss V4": lambda: losses.ValidPairLoss("V4"),
    "ValidPairLoss weighted_pair": lambda: losses.ValidPairLoss("weighted_pair"),
    "HardestPairLoss": lambda: losses.HardestPairLoss(),
    "MultiSimilarityLoss": lambda: losses.MultiSimilarityLoss(),
    "MultiSimilarityLoss library": lambda: losses.MultiSimilarityLoss(variant="library"),
    "MultiSimilarityLoss paper": lambda: losses.MultiSimilarityLoss(variant="paper"),
    "MarginLoss": lambda: losses.MarginLoss(),
    "MarginLoss of classes": lambda: losses.MarginLoss(num_classes=200),
    "ContrastiveLoss": lambda: losses.ContrastiveLoss(),
    "ContrastiveLoss paper": lambda: losses.ContrastiveLoss(variant="paper"),
    "ContrastiveLoss library": lambda: losses.ContrastiveLoss(variant="library"),
    "BatchAllLoss": lambda: losses.BatchAllLoss(),
    "BatchAllLoss paper": lambda: losses.BatchAllLoss(variant="paper"),
    "BatchHardLoss": lambda: losses.BatchHardLoss(),
    "SemiHardLoss": lambda: losses.SemiHardLoss(),
    "SemiHardLoss paper": lambda: losses.SemiHardLoss(variant="paper"),
    "LiftedStructureLoss": lambda: losses.LiftedStructureLoss(),
    "LiftedStructureLoss paper": lambda: losses.LiftedStructureLoss(variant="paper"),
    "BinomialDevianceLoss": lambda: losses.BinomialDevianceLoss(),
    "BinomialDevianceLoss mined": lambda: losses.BinomialDevianceLoss(beta=2.0, hard_mining=True),
    "BinomialDevianceLoss paper": lambda: losses.BinomialDevianceLoss(variant="paper"),
    "NCALoss": lambda: losses.NCALoss(),
    "NCALoss paper": lambda: losses.NCALoss(variant="paper"),
    "HardMiningLoss": lambda: losses.HardMiningLoss(),
    "TripletHardMiningLoss": lambda: losses.TripletHardMiningLoss(),
    "WeightLoss": lambda: losses.WeightLoss(),
    "XbmTripletLoss": lambda: losses.XbmTripletLoss(),
}


def run(quick: bool = False) -> list[dict]:
    rows = []
    # 56 = 8 x 7 is OSM's published batch, 180 = 60 x 3 RLL's; 1,000 shows what grows with N*N.
    for n, each in [(180, 3)] if quick else [(56, 7), (180, 3), (1000, 5)]:
        x, labels = batch(n, 512, each)
        budget = 4e-6 * (2 * n * n + n * 512)
        for name, build in LOSSES.items():
            held = peak_bytes(step(build(), x, labels)) / 1e6
            rows.append(row(f"{name} memory {n}x512", held, budget, "MB", "peer: 2 N*N + N*D float32"))
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    for entry in run("--quick" in sys.argv[1:]):
        print("{name:46} {ours:8.2f} of {peer:7.2f} {unit}  {ratio:5.2f}".format(**entry))
