"""The other weightings of pairs that were released beside OSM: V, V2, V3, V4 and attention alone."""

from __future__ import annotations

from torch import Tensor

from ports.losses._attentive_pairs import AttentivePairLoss

_V3_THRESHOLD = 1e-4  # on squares

KINDS = ("V", "V2", "V3", "V4", "weighted_valid_pair", "weighted_pair")


class ValidPairLoss(AttentivePairLoss):
    """Contrastive loss with one of the released pair weights, each times the lesser `attention` of the pair.

    ====================== ========== ======================= ===================
    kind                   positive   negative                normalised to
    ====================== ========== ======================= ===================
    `V`                    d          max(0, margin - d)      1 over all
    `V2`                   d^2        max(0, margin - d)^2    1 over all
    `V3`                   1 or 0     1 or 0                  1 over all
    `V4`                   d          max(0, margin - d)      1/2 and 1/2
    `weighted_valid_pair`  1          1                       1 over all
    `weighted_pair`        1          1                       1 over ordered pairs
    ====================== ========== ======================= ===================

    `V3` is 1 where the weight of `V2` is above 1e-4.
    `weighted_pair` counts ordered pairs, P = N(N-1), which halves the gradient. Trivial negatives have no force but, in the
    last two kinds, do take their share of the normalisation.

    Value, gradient, shapes: see AttentivePairLoss (the value is the unweighted contrastive loss; 1/P comes on top).
    Source: distance_weighted_valid_pair_loss_layer.cpp, its _V2, _V3, _V4, weighted_valid_pair_loss_layer.cpp,
    weighted_pair_loss_layer.cpp of the OSM + CAA release.
    """

    def __init__(self, kind: str = "V4", margin: float = 1.2) -> None:
        super().__init__(margin)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind
        self.halves = kind == "V4"
        self.ordered = kind == "weighted_pair"

    def pair_weights(
        self, squared: Tensor, distance: Tensor, hinge: Tensor, positive: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.kind in ("V", "V4"):
            return distance * positive, hinge * negative
        if self.kind in ("V2", "V3"):
            squares = squared * positive, hinge.square().mul_(negative)
            return (
                squares
                if self.kind == "V2"
                else ((squares[0] > _V3_THRESHOLD).double(), (squares[1] > _V3_THRESHOLD).double())
            )
        return positive.double(), negative.double()
