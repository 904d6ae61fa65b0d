"""Multi-Similarity loss (Wang et al., CVPR 2019) with its miner."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from ports.losses._blocks import sum_of_rows
from ports.losses._gram import inner_products, similarity
from ports.losses._inputs import PairBatch, check_numbers
from ports.losses._masked import log_sum_exp
from ports.losses._pair_loss import PairLoss, check_variant
from ports.miners import multi_similarity_pairs

_DEFAULTS = {"as_released": (40.0, 0.5), "paper": (50.0, 1.0), "library": (50.0, 0.5)}  # beta, base


class MultiSimilarityLoss(PairLoss):
    """1/N sum_i [ 1/alpha log(1 + sum_P e^{-alpha (s - base)}) + 1/beta log(1 + sum_N e^{beta (s - base)}) ].

    P and N are the positives and negatives that the miner leaves (`multi_similarity_pairs`, `epsilon`); the divisor is
    the whole batch. Embeddings are expected with unit norm (only "library" normalises them).

    variant:
      "as_released"  research-ms-loss, losses/multi_similarity_loss.py: beta 40, base 0.5. Positives are the partners of
                     equal label with s < `cutoff` = 1 - 1e-5. That removes the anchor itself, and near duplicates with
                     it; excluded by index, the duplicates would stay.
      "paper"        equations 13-15: the anchor is excluded by index; beta 50, base (lambda) 1.
      "library"      pytorch-metric-learning's default: cosine similarity, no miner, beta 50, base 0.5.
    An anchor without positives or without negatives adds 0 (the original stops with a ValueError); a batch in which no
    pair is left gives 0 that is part of the graph (the original returns a fresh float32 zero without one).
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float | None = None,
        base: float | None = None,
        epsilon: float = 0.1,
        *,
        cutoff: float = 1 - 1e-5,
        variant: str = "as_released",
    ) -> None:
        super().__init__()
        self.variant = check_variant(self, variant, tuple(_DEFAULTS))
        check_numbers(self, alpha=alpha, beta=beta, base=base, epsilon=epsilon, cutoff=cutoff)
        default_beta, default_base = _DEFAULTS[variant]
        self.alpha = alpha
        self.beta = default_beta if beta is None else beta
        self.base = default_base if base is None else base
        self.epsilon = epsilon
        self.cutoff = cutoff

    def compute(self, batch: PairBatch, same: Tensor) -> Tensor:
        if self.variant == "library":
            unit = normalize(batch.embeddings)
            sim = inner_products(unit, unit if batch.itself else normalize(batch.partners))
        else:
            sim = similarity(batch)
        positive = same if self.variant == "as_released" else batch.positive
        return sum_of_rows(sim, self._terms, positive, batch.negative) / len(batch.embeddings)

    def _terms(self, sim: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        if self.variant == "as_released":
            positive = positive & (sim.detach() < self.cutoff)
        if self.variant != "library":
            positive, negative = multi_similarity_pairs(sim, positive, negative, self.epsilon)
            mined = positive.any(1, keepdim=True) & negative.any(1, keepdim=True)
            positive, negative = positive & mined, negative & mined
        attract = log_sum_exp(sim, positive, scale=-self.alpha, base=self.base, plus_one=True) / self.alpha
        repel = log_sum_exp(sim, negative, scale=self.beta, base=self.base, plus_one=True) / self.beta
        return attract + repel
