"""What a loss does beyond the recorded batches: on a seeded batch, in words. For losses of (embeddings, labels, ...)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .cases import Argument
from .compare import flat
from .evaluate import Outcome, evaluate
from .frameworks import framework_of, unpack
from .limits import Fatal, watched

_CLOSE = 1e-9  # relative: other summation orders of a few dozen float64 terms differ by 1e-14


@dataclass(frozen=True)
class Property:
    """`verdict`: ok, no (a warning; it does not fail the check) or info."""

    name: str
    verdict: str
    words: str


def batch(like: Sequence[Argument], classes: int = 4, per_class: int = 3, seed: int = 0) -> list[Argument]:
    """Unit rows around class centres, in the arguments of a set: float vectors of length N become scores in (0, 1)."""
    rng = np.random.RandomState(seed)
    dim = like[0].array.shape[1] if like else 8
    labels = np.repeat(np.arange(classes), per_class)
    centres = rng.randn(classes, dim)
    rows = centres[labels] / np.linalg.norm(centres, axis=1)[labels][:, None] + 0.6 * rng.randn(
        len(labels), dim
    ) / np.sqrt(dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    made = []
    for argument in like:
        if argument.is_label:
            made.append(replace(argument, array=labels))
        elif argument.differentiable:
            made.append(replace(argument, array=rows))
        else:
            made.append(replace(argument, array=rng.uniform(0.1, 0.9, len(labels))))
    return made


def _with(arguments: list[Argument], change: Callable[[Argument], np.ndarray]) -> list[Argument]:
    return [replace(a, array=change(a)) for a in arguments]


def _moved_along(step: np.ndarray) -> Callable[[Argument], np.ndarray]:
    return lambda a: a.array + step if a.differentiable else a.array


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= _CLOSE * max(abs(a), abs(b)) + 1e-14


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(
        np.abs(a - b).max(initial=0) <= _CLOSE * max(np.abs(a).max(initial=0), np.abs(b).max(initial=0)) + 1e-14
    )


def properties(
    loss: Callable[..., Any], like: Sequence[Argument], *, device: Any = "cpu", framework: str | None = None
) -> list[Property]:
    """All properties, in a fixed order. `like`: the arguments of one case, for their names and the dimension.

    None for losses that take no labels, or more than one batch.
    """
    more = [a.name for a in like[2:]]
    rest: Sequence[Argument] = ()
    if more and set(more) <= {"triplets", "weights", "beta"}:
        like, rest = like[:2], like[2:]
    framework = framework or framework_of(loss)
    if not (
        like and like[0].differentiable and sum(a.differentiable for a in like) == 1 and any(a.is_label for a in like)
    ):
        return []

    def run(arguments: list[Argument], dtype: str = "float64", on: Any = device) -> Outcome:
        complete = [*arguments, *_the_rest(rest, arguments)]
        outcome = evaluate(loss, complete, dtype=dtype, device=on, framework=framework)
        outcome.gradients = outcome.gradients[:1]
        return outcome

    arguments = batch(like)
    plain = run(arguments)
    if plain.problem:
        return [Property("ordinary batch (4 x 3)", "no", plain.problem)]
    found = [
        Property(
            "ordinary batch (4 x 3)",
            "ok",
            f"loss {plain.loss:.6g}, gradient norm {np.linalg.norm(flat(plain.gradients)):.3g}",
        )
    ]

    again = run(arguments)
    equal = (
        again.loss == plain.loss and np.array_equal(flat(again.gradients), flat(plain.gradients))
        if not again.problem
        else False
    )
    found.append(Property("repeatable", "ok" if equal else "no", "bit-identical twice" if equal else "two runs differ"))

    order = np.random.RandomState(1).permutation(len(arguments[0].array))
    moved = run(_with(arguments, lambda a: a.array[order]))
    good = not moved.problem and _same(moved.loss, plain.loss) and _close(moved.gradients[0], plain.gradients[0][order])
    found.append(
        Property(
            "order of the batch",
            "ok" if good else "no",
            moved.problem or ("does not matter" if good else "changes the result"),
        )
    )

    renamed = run(_with(arguments, lambda a: 7 * (3 - a.array) + 2 if a.is_label else a.array))
    good = not renamed.problem and _same(renamed.loss, plain.loss) and _close(renamed.gradients[0], plain.gradients[0])
    words = renamed.problem or ("do not matter" if good else "change the result")
    if "weights" in more:  # not a fault: each label has a proxy of its own
        found.append(Property("names of the labels", "info", "rows of the proxies"))
    else:
        found.append(Property("names of the labels", "ok" if good else "no", words))

    found.append(_true_gradient(run, arguments, plain))
    if framework == "torch":
        found.append(_detached(loss, [*arguments, *_the_rest(rest, arguments)], len(arguments), device))
    found.extend(_edges(run, arguments))
    found.append(_batch_size(run, like))
    found.append(_single(run(arguments, "float32"), plain))
    if framework == "torch":
        found.append(_cuda(run, arguments, plain, device))
    return found


def _the_rest(rest: Sequence[Argument], arguments: list[Argument], classes: int = 32) -> list[Argument]:
    """What a set brings beside (embeddings, labels): all triplets of the batch, seeded proxies (32, D), the case's boundaries."""
    made = []
    for argument in rest:
        array = argument.array
        if argument.name == "triplets":
            labels = arguments[1].array
            same = labels[:, None] == labels[None]
            others = same & ~np.eye(len(labels), dtype=bool)
            array = np.argwhere(others[:, :, None] & ~same[:, None, :])
        if argument.name == "weights":  # a case has rows for its own labels only
            shape = (classes, arguments[0].array.shape[1])
            array = np.random.RandomState(3).uniform(-1, 1, shape) / np.sqrt(shape[1])
        made.append(replace(argument, array=array))
    return made


def _true_gradient(run: Callable[..., Outcome], arguments: list[Argument], plain: Outcome) -> Property:
    """Central differences of the value along three directions: is the gradient its derivative?"""
    rng, step, worst = np.random.RandomState(2), 1e-6, 0.0
    for _ in range(3):
        direction = rng.randn(*arguments[0].array.shape)
        ends = [run(_with(arguments, _moved_along(sign * step * direction))) for sign in (1, -1)]
        slope = (ends[0].loss - ends[1].loss) / (2 * step)
        claimed = float((plain.gradients[0] * direction).sum())
        worst = max(worst, abs(slope - claimed) / max(abs(slope), abs(claimed), 1e-12))
    # Central differences with step 1e-6 in float64 are good to about 1e-8 where the loss is smooth.
    if worst < 1e-5:
        return Property("gradient of the value", "info", "yes: the gradient is the value's derivative")
    return Property(
        "gradient of the value",
        "info",
        f"no: differs from the value's derivative by {worst:.1%} (detached parts, or another value)",
    )


def _detached(loss: Callable[..., Any], arguments: list[Argument], told: int, device: Any) -> Property:
    """Which float inputs, of the first `told`, get a gradient when they ask for one."""
    import torch

    from .frameworks.with_torch import is_tensor, tensors  # torch

    asked = [replace(a, differentiable=not a.is_label) for a in arguments[:told]]
    values, leaves = tensors([*asked, *arguments[told:]], "float64", device)
    names = [a.name for a in asked if a.differentiable]
    try:
        with watched():
            found = torch.autograd.grad(
                unpack(loss(*values), (), is_tensor, [])[0], leaves[: len(names)], allow_unused=True
            )
    except (Exception, Fatal) as error:
        return Property("inputs with a gradient", "no", f"{type(error).__name__}: {error}"[:120])
    words = [f"{n}: {'detached' if g is None else 'zero' if not g.any() else 'yes'}" for n, g in zip(names, found)]
    parameters = [n for n, p in loss.named_parameters() if p.requires_grad] if isinstance(loss, torch.nn.Module) else []
    return Property(
        "inputs with a gradient",
        "info",
        ", ".join(words) + (f"; parameters {', '.join(parameters)}" if parameters else ""),
    )


def _edges(run: Callable[..., Outcome], arguments: list[Argument]) -> list[Property]:
    n = len(arguments[0].array)

    def labelled(values: np.ndarray) -> list[Argument]:
        return _with(arguments, lambda a: values if a.is_label else a.array)

    doubled = arguments[0].array.copy()
    doubled[1], doubled[n - 1] = doubled[0], doubled[0]
    batches = {
        "no positives": labelled(np.arange(n)),
        "no negatives": labelled(np.zeros(n, np.int64)),
        "equal rows": _with(arguments, lambda a: doubled if a.differentiable else a.array),
        "all rows equal": _with(arguments, lambda a: np.ones_like(a.array) / 8 if a.differentiable else a.array),
        "rows 100 times longer": _with(arguments, lambda a: 100 * a.array if a.differentiable else a.array),
        "one sample": _with(arguments, lambda a: a.array[:1]),
        "empty batch": _with(arguments, lambda a: a.array[:0]),
    }
    found = []
    for name, edge in batches.items():
        outcome = run(edge)
        words = (
            outcome.problem
            or f"loss {outcome.loss:.6g}, gradient {'zero' if not flat(outcome.gradients).any() else 'finite'}"
        )
        # An empty batch has no defined value in most programs, and losses of unit rows may overflow on long ones: told, not judged.
        told = name in ("empty batch", "rows 100 times longer")
        found.append(Property(name, "info" if told else "no" if outcome.problem else "ok", words))
    return found


def _batch_size(run: Callable[..., Outcome], like: Sequence[Argument]) -> Property:
    norms = [np.linalg.norm(flat(o.gradients)) for o in (run(batch(like, p, 3)) for p in (4, 8, 16)) if not o.problem]
    if len(norms) < 3 or not all(norms):
        return Property("gradient norm by batch size", "info", "not measurable")
    power = np.log(norms[2] / norms[0]) / np.log(4)
    return Property(
        "gradient norm by batch size",
        "info",
        f"{', '.join(f'{v:.3g}' for v in norms)} at N = 12, 24, 48: about N^{power:.1f}",
    )


def _single(single: Outcome, plain: Outcome) -> Property:
    """float32 beside float64: 6e-8 a rounding, some thousands of which a distance of near rows may lose."""
    if single.problem:
        return Property("float32", "no", single.problem)
    want = flat(plain.gradients)
    off = np.abs(flat(single.gradients) - want).max() / max(np.abs(want).max(), 1e-300)
    words = f"differs from float64 by {off:.0e} of the gradient's largest entry"
    return Property("float32", "ok" if off <= 1e-3 else "no", words)


def _cuda(run: Callable[..., Outcome], arguments: list[Argument], plain: Outcome, device: Any) -> Property:
    import torch

    if str(device) == "cpu" and not torch.cuda.is_available():
        return Property("devices", "info", "CPU only: no CUDA device here")
    other = run(arguments, "float64", "cuda" if str(device) == "cpu" else "cpu")
    good = not other.problem and _same(other.loss, plain.loss) and _close(flat(other.gradients), flat(plain.gradients))
    return Property(
        "devices", "ok" if good else "no", other.problem or ("CPU and CUDA agree" if good else "CPU and CUDA disagree")
    )
