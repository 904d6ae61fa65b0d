"""Proxy Anchor loss, with the deviations of ports.

Source: Kim et al., CVPR 2020, equation 4: cosines s, alpha 32, delta 0.1; positives averaged over the proxies that have some in the
batch, negatives over all proxies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import detach, log_sum_exp, normalize, softplus, where
from .reference import Deviation, Reference

_DEVIATIONS = (
    Deviation("raw_rows", "embeddings are not normalised inside the loss", "both"),
    Deviation("raw_proxies", "the proxies are not normalised", "both"),
    Deviation(
        "over_all_proxies", "positives are averaged over all proxies, not over those with samples in the batch", "both"
    ),
    Deviation(
        "over_present", "negatives are averaged over the proxies with samples in the batch, not over all", "both"
    ),
    Deviation("sums", "proxies are summed, not averaged", "both"),
    Deviation("no_one", "log of the sum alone, without 1 +", "both"),
    Deviation("no_delta", "the margin delta is missing", "both"),
    Deviation("proxies_detached", "the proxies are detached: they are not trained"),
)


def proxy_anchor(arguments: Any, params: dict[str, Any], wrong: frozenset[str] = frozenset()) -> tuple[Any, Any]:
    """(value, the same tensor) of (x, labels, proxies); `wrong` switches deviations on."""
    x, labels, proxies = arguments
    if "proxies_detached" in wrong:
        proxies = detach(proxies) + 0 * proxies  # a gradient of zero, so that it can be compared
    w = proxies if "raw_proxies" in wrong else normalize(proxies)
    s = w @ (x if "raw_rows" in wrong else normalize(x)).T
    own = np.arange(len(w))[:, None] == labels[None, :]
    present = own.any(1)
    alpha, delta = float(params["alpha"]), 0.0 if "no_delta" in wrong else float(params["delta"])
    terms = []
    for exponent, member in ((-alpha * (s - delta), own), (alpha * (s + delta), ~own)):
        total = log_sum_exp(exponent, member)
        total = total if "no_one" in wrong else softplus(total)
        terms.append(where(member.any(1), total, 0.0).sum())
    counts = [max(int(present.sum()), 1), len(w)]
    if "over_all_proxies" in wrong:
        counts[0] = len(w)
    if "over_present" in wrong:
        counts[1] = counts[0]
    if "sums" in wrong:
        counts = [1, 1]
    value = terms[0] / counts[0] + terms[1] / counts[1]
    return value, value


REFERENCE = Reference(
    proxy_anchor,
    _DEVIATIONS,
    {},
    (frozenset(("over_all_proxies", "over_present", "sums")),),
    {"alpha": (1, 8, 16, 32, 64), "delta": (0.0, 0.05, 0.1, 0.2, 0.3)},
)
