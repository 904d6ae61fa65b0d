"""Every loss of `ports`, in every variant, forward and backward on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ports import losses as ported
from tools.cuda.recorder import Recorder

CLASSES, EACH, DIM = 8, 4, 16
#: Loss -> further arguments beside those of `_needed`, one entry for each way of working.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "RankedListLoss": [{}, {"release": "tpami"}, {"variant": "paper"}, {"variant": "library"}],
    "OnlineSoftMiningLoss": [{}, {"variant": "paper"}],
    "ValidPairLoss": [{"kind": kind} for kind in ("V", "V2", "V3", "V4", "weighted_pair")],
    "MultiSimilarityLoss": [{}, {"variant": "paper"}, {"variant": "library"}],
    "MarginLoss": [{}, {"num_classes": CLASSES}, {"variant": "paper", "nu": 0.1, "learn_beta": True}],
    "ContrastiveLoss": [{}, {"variant": "paper"}, {"variant": "library"}],
    "BatchAllLoss": [{}, {"variant": "paper"}, {"variant": "paper", "nonzero": True}],
    "BatchHardLoss": [{}, {"margin": None}],
    "SemiHardLoss": [{}, {"variant": "paper"}],
    "LiftedStructureLoss": [{}, {"hard_mining": True}, {"variant": "paper"}],
    "BinomialDevianceLoss": [{}, {"beta": 2.0, "hard_mining": True}, {"variant": "paper"}],
    "NCALoss": [{}, {"variant": "paper"}, {"variant": "paper", "objective": "expected"}],
    "WeightLoss": [{}, {"hard_mining": True}],
    "NormSoftmaxLoss": [{}, {"variant": "paper"}],
    "ProxyNCALoss": [{}, {"variant": "library"}],
}


#: Losses that take something else than embeddings and labels.
MORE: dict[str, Callable[..., torch.Tensor]] = {
    "ClassAwareAttention": lambda loss, x, labels: loss(x, labels).loss,
    "WeightedSoftmaxLoss": lambda loss, x, labels: loss(x, labels, labels.float()),
    "CaffeContrastiveLoss": lambda loss, x, labels: loss(x, x.flip(0), labels),
    "CaffeContrastiveLossV2": lambda loss, x, labels: loss(x, x.flip(0), labels),
    "CaffeTripletLoss": lambda loss, x, labels: loss(x, x.flip(0), x.roll(1, 0)),
}


def names() -> list[tuple[str, int]]:
    """(loss, number of its variant) of all that `ports.losses` exports."""
    return [(name, index) for name in ported.__all__ for index in range(len(VARIANTS.get(name, [{}])))]


def run(name: str, index: int) -> Recorder:
    make: Callable[..., torch.nn.Module] = getattr(ported, name)
    arguments = dict(VARIANTS.get(name, [{}])[index])
    if name in ("NormSoftmaxLoss", "ProxyNCALoss"):
        arguments |= {"num_classes": CLASSES, "embedding_dim": DIM}
    loss = make(*([arguments.pop("kind")] if "kind" in arguments else []), **arguments).to("meta")
    x = torch.empty(CLASSES * EACH, DIM, device="meta", requires_grad=True)
    labels = torch.empty(CLASSES * EACH, dtype=torch.int64, device="meta")
    recorder = Recorder()
    with recorder:
        MORE.get(name, lambda loss, x, labels: loss(x, labels))(loss, x, labels).backward()
    return recorder
