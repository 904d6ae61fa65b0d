"""Every loss of embeddings by name, a batch for it, and its value with its gradients."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch

from helpers import pair_losses
from helpers.loss_batches import clustered
from ports import losses
from ports.losses.valid_pair import KINDS

CLASSES, DIM = 4, 16
PAIRS = {
    **{
        f"rll-{release}-{legacy}": (
            lambda release=release, legacy=legacy: losses.RankedListLoss(release=release, legacy_version=legacy)
        )
        for release in ("cvpr19", "tpami")
        for legacy in (False, True)
    },
    "rll-paper": lambda: losses.RankedListLoss(variant="paper"),
    "rll-library": lambda: losses.RankedListLoss(variant="library"),
    "osm": lambda: losses.OnlineSoftMiningLoss(),
    "osm-paper": lambda: losses.OnlineSoftMiningLoss(variant="paper"),
    "hardest": lambda: losses.HardestPairLoss(),
    **{f"valid-{kind}": (lambda kind=kind: losses.ValidPairLoss(kind)) for kind in KINDS},
    "ms": lambda: losses.MultiSimilarityLoss(),
    "ms-paper": lambda: losses.MultiSimilarityLoss(variant="paper"),
    "ms-library": lambda: losses.MultiSimilarityLoss(variant="library"),
    "contrastive": lambda: losses.ContrastiveLoss(0.1),
    "contrastive-paper": lambda: losses.ContrastiveLoss(variant="paper"),
    "contrastive-library": lambda: losses.ContrastiveLoss(variant="library"),
    "binomial": lambda: losses.BinomialDevianceLoss(),
    "binomial-mined": lambda: losses.BinomialDevianceLoss(beta=2.0, hard_mining=True),
    "binomial-paper": lambda: losses.BinomialDevianceLoss(variant="paper"),
    "bin-deviance": lambda: losses.BinDevianceLoss(),
    "neighbour-nca": lambda: losses.NeighbourNCALoss(k=5),
    "lifted": lambda: losses.LiftedStructureLoss(),
    "lifted-mined": lambda: losses.LiftedStructureLoss(hard_mining=True),
    "lifted-paper": lambda: losses.LiftedStructureLoss(variant="paper"),
    "nca": lambda: losses.NCALoss(k=5),
    "nca-paper": lambda: losses.NCALoss(variant="paper"),
    "nca-expected": lambda: losses.NCALoss(objective="expected", variant="paper"),
    "semi-hard": lambda: losses.SemiHardLoss(),
    "semi-hard-paper": lambda: losses.SemiHardLoss(variant="paper"),
    "batch-all": lambda: losses.BatchAllLoss(),
    "batch-all-paper": lambda: losses.BatchAllLoss(variant="paper"),
    "batch-all-nonzero": lambda: losses.BatchAllLoss(nonzero=True, variant="paper"),
    "batch-hard": lambda: losses.BatchHardLoss(),
    "batch-hard-soft": lambda: losses.BatchHardLoss(None),
    "hard-mining": lambda: losses.HardMiningLoss(),
    "triplet-hard-mining": lambda: losses.TripletHardMiningLoss(0.1),
    "weight": lambda: losses.WeightLoss(),
    "weight-mined": lambda: losses.WeightLoss(hard_mining=True),
    "xbm-triplet": lambda: losses.XbmTripletLoss(floor=0.1),
}
PAIRS |= pair_losses.not_among(make() for make in PAIRS.values())
OTHERS = {
    "margin": lambda: losses.MarginLoss(),
    "margin-classes": lambda: losses.MarginLoss(num_classes=CLASSES),
    "margin-paper": lambda: losses.MarginLoss(nu=0.1, learn_beta=True, variant="paper"),
    "norm-softmax": lambda: losses.NormSoftmaxLoss(CLASSES, DIM),
    "norm-softmax-paper": lambda: losses.NormSoftmaxLoss(CLASSES, DIM, variant="paper"),
    "proxy-nca": lambda: losses.ProxyNCALoss(CLASSES, DIM),
    "proxy-nca-library": lambda: losses.ProxyNCALoss(CLASSES, DIM, variant="library"),
}
ALL = PAIRS | OTHERS
every_loss = pytest.mark.parametrize("name", ALL)
every_pair_loss = pytest.mark.parametrize("name", PAIRS)


batch = functools.partial(clustered, torch.arange(12) // 3, dim=DIM, spread=2.0)


def make(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    return ALL[name]().double()


def step(loss: torch.nn.Module, *inputs: torch.Tensor, **options) -> list[torch.Tensor]:
    """Value and gradients of all floating inputs."""
    leaves = [t.detach().clone().requires_grad_() if t.is_floating_point() else t for t in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        value = loss(*leaves, **options)
    return [value.detach(), *torch.autograd.grad(value, [t for t in leaves if t.is_floating_point()])]
