"""What torch.compile changes in a loss: its numbers on a set's batches beside those of the same loss as it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .compare import Tolerance, flat
from .evaluate import evaluate_case
from .relation import Trial


def changes(
    loss: Callable[..., Any], trials: Sequence[Trial], tolerance: dict[str, Tolerance], **options: Any
) -> tuple[bool, list[str]]:
    """(whether all stay within the tolerance, lines in words). Each shape of batch is compiled; a loss of tens of lines takes seconds."""
    import torch

    compiled = torch.compile(loss, dynamic=True)
    same, worst = 0, {"loss": 0.0, "gradient": 0.0}
    off: list[str] = []
    failed: dict[str, list[str]] = {}
    usable = [t for t in trials if not t.outcome.problem]
    # By default the ninth shape would run as it is written, and be called compiled.
    with torch._dynamo.config.patch(recompile_limit=10 * len(usable) + 100, fail_on_recompile_limit_hit=True):
        for t in usable:
            outcome = evaluate_case(compiled, t.case, t.dtype, **options)
            if outcome.problem:
                failed.setdefault(outcome.problem, []).append(t.case.name)
                continue
            plain, got = flat(t.outcome.gradients), flat(outcome.gradients)
            units = {
                "loss": abs(outcome.loss - t.outcome.loss) / tolerance[t.dtype].loss_limit(abs(t.outcome.loss)),
                "gradient": float(np.abs(got - plain).max(initial=0))
                / tolerance[t.dtype].gradient_limit(float(np.abs(plain).max(initial=0))),
            }
            same += not any(units.values())
            worst = {k: max(worst[k], units[k]) for k in worst}
            if max(units.values()) > 1:
                off.append(t.case.name)
    lines = [f"bit-identical in {same} of {len(usable)} cases"]
    if same < len(usable):
        lines.append(
            f"largest change, in units of the tolerance: loss {worst['loss']:.1e}, gradient {worst['gradient']:.1e}"
        )
    if off:
        lines.append(f"beyond the tolerance: {', '.join(off)}")
    lines += [f"fails in {len(names)} cases ({names[0]}, ...): {why}" for why, names in failed.items()]
    return not off and not failed, lines
