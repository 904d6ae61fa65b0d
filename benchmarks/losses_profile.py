"""Where a loss's time goes that is not ahead of its peer:

    python -m benchmarks losses_profile --threads 1,2

For each contest of `benchmarks.losses` with a ratio above 0.9, milliseconds of a step (of processor time with one thread, else of wall time) by kind of work, ours and the peer's:
products of matrices, copies (changes of type and order), choosing (nonzero, index, topk, sort, where), element by element and
sums, and calls: what is left of the step, Python and the dispatch of operations. torch's profiler names the
operations; it lengthens a step, so its times are shares of the step that was timed without it.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks._paired import paired
from benchmarks.losses import EACH, TOO_SLOW, Step, batch, contests, interleaved

AHEAD = 0.9
KINDS = {
    "products": "mm addmm addmm_ bmm baddbmm mv dot",
    "copies": "copy_ cat stack clone contiguous repeat_interleave _to_copy",
    "choosing": "nonzero index index_put_ _index_put_impl_ index_select gather scatter_ scatter_add_ topk sort where "
    "masked_select masked_fill masked_fill_ max_pool unique2 _unique2 one_hot",
}
# What only looks at a tensor in another way, or makes an empty one: calls.
VIEWS = "slice as_strided view reshape expand unsqueeze squeeze select t transpose permute detach empty empty_like empty_strided alias"


def run(quick: bool = False) -> list[dict]:
    torch.manual_seed(0)
    rows = []
    slow: set[str] = set()
    for classes in (12,) if quick else (36, 100):  # N = 180, 500
        x, labels = batch(classes, EACH, 512)
        for contest in contests(classes, 512)[: 2 if quick else None]:
            if contest.name in slow:
                continue
            row = paired(*interleaved([contest.ours, contest.peer], x, labels, seconds=0))
            if row["peer"] > 1e3 * TOO_SLOW / 10:  # it grows with the cube, in memory as well
                slow.add(contest.name)
            if row["ratio"] <= AHEAD and not quick:
                continue
            both = {who: shares(getattr(contest, who), x, labels, row[who]) for who in ("ours", "peer")}
            note = "; ".join(
                f"{who}: " + ", ".join(f"{k} {v:.2f}" for k, v in parts.items()) for who, parts in both.items()
            )
            name = f"{contest.name} N={len(x)} D=512"
            rows.append({"name": name, **row, "unit": "ms", "note": note})
    return rows


def shares(step: Step, x: Tensor, labels: Tensor, whole: float, repeats: int = 5) -> dict[str, float]:
    """Milliseconds by kind, adding up to `whole`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            start = time.perf_counter()
            for _ in range(repeats):
                step(x.clone().requires_grad_(), labels).backward()
            lasted = (time.perf_counter() - start) * 1e6
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        spent[kind(event.key)] += event.self_cpu_time_total
    del spent["calls"]
    spent["calls"] = max(0.0, lasted - sum(spent.values()))
    order = (*KINDS, "elements", "calls")
    return {name: whole * spent[name] / max(lasted, sum(spent.values())) for name in order}


def kind(operation: str) -> str:
    if not operation.startswith("aten::"):  # a node of the graph: what it spends itself is Python
        return "calls"
    name = operation.removeprefix("aten::")
    if name in VIEWS.split():
        return "calls"
    return next((kind for kind, names in KINDS.items() if name in names.split()), "elements")
