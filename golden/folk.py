"""Two forms that many copies share, written anew in torch from their published description, as named examples for the audit.

Neither is anybody's file: each is the form that a description names, with nothing else changed for its own sake.
"""

from __future__ import annotations

from typing import Any

import torch


def _distances(x: Any) -> Any:
    squared = (x[:, None] - x[None]).square().sum(-1)
    return torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)


def ranked_list_of_re_identification(x: Any, labels: Any) -> Any:
    """Ranked list loss with the positives' hinges averaged over all positives, not over those that violate their boundary.

    Anchors count alike, weights are differentiated, positives are not weighted. Settings: boundaries 0.8 and 1.2, T = 10.
    """
    far, near, temperature = 1.2, 0.8, 10.0
    distance, same = _distances(x), labels[:, None] == labels
    positive = same & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    pulls = ((distance - near).clamp(min=0) * positive).sum(1) / positive.sum(1).clamp(min=1)
    hinge = (far - distance).clamp(min=0) * ~same
    weight = torch.exp(temperature * hinge) * (hinge > 0)
    pushes = (weight * hinge).sum(1) / (weight.sum(1) + 1e-5)
    return (pulls + pushes).mean()


def online_soft_mining_without_a_half(x: Any, labels: Any, scores: Any) -> Any:
    """Online soft mining with exp(-d^2 / sigma^2) for the Gaussian exp(-d^2 / (2 sigma^2)), sigma 0.8, margin 1.2.

    Weights are differentiated and each kind's weighted mean counts one half; there is no division by the number of pairs.
    """
    margin, sigma = 1.2, 0.8
    distance = _distances(x)
    above = torch.ones(len(x), len(x), dtype=torch.bool, device=x.device).triu(1)
    same = labels[:, None] == labels
    attention = torch.minimum(scores[:, None], scores)
    pull = torch.exp(-distance.square() / sigma**2) * attention * (same & above)
    hinge = (margin - distance).clamp(min=0)
    push = hinge * attention * (~same & above)
    means = [(w * d.square()).sum() / w.sum().clamp(min=1e-12) for w, d in ((pull, distance), (push, hinge))]
    return 0.5 * (means[0] + means[1])
