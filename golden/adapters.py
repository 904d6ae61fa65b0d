"""Make a callable with another signature fit a golden set's arguments.

`check` calls the loss with the set's arguments in order (`golden list` shows them). Each adapter returns such a callable.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .frameworks import framework_of
from .frameworks.layers import SIMILARITIES, distances, lengths, normalisation, through

Loss = Callable[..., Any]

_SCORES = ("scores", "attention", "score", "weights")
# A set's learnable argument -> what modules call that parameter.
_PARAMETERS = {"weights": ("weight", "weights", "proxies", "W"), "beta": ("beta", "betas")}


def normalised(loss: Loss) -> Loss:
    """For a loss that expects raw embeddings to be L2-normalised by its caller: normalise, then call."""
    framework = framework_of(loss)
    return lambda embeddings, *rest: through(framework, normalisation(framework), loss, embeddings, *rest)


def with_scores(loss: Loss, keyword: str | None = None) -> Loss:
    """Pass the third argument (one score per sample) by keyword; the name is guessed from the signature if not given."""
    keyword = keyword or keyword_of_scores(loss)
    if keyword is None:
        raise TypeError(f"{loss!r} has no parameter named {', '.join(_SCORES)}; give keyword=")
    return lambda embeddings, labels, scores: loss(embeddings, labels, **{keyword: scores})


def without_scores(loss: Loss) -> Loss:
    """Drop the third argument, for a loss that knows no scores."""
    return lambda embeddings, labels, scores: loss(embeddings, labels)


def with_miner(loss: Loss, miner: Callable[..., Any]) -> Loss:
    """pytorch-metric-learning's way: loss(embeddings, labels, miner(embeddings, labels))."""
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


def with_triplets(loss: Loss) -> Loss:
    """The third argument (T, 3) as the three index tensors `(anchors, positives, negatives)` that libraries take."""

    def wrapped(embeddings: Any, labels: Any, triplets: Any, *rest: Any) -> Any:
        return loss(embeddings, labels, tuple(triplets[:, k] for k in range(3)), *rest)

    return wrapped


def with_parameter(loss: Loss, name: str | None = None, *, transposed: bool = False) -> Loss:
    """Put the last argument in the place of the module's parameter `name` (proxies, boundaries), whatever shape it has there.

    Without a name the module's only parameter. `transposed`: the module holds its proxies as (D, C). Raises TypeError for what
    has no such parameter.
    """
    from torch.func import functional_call

    names = [n for n, _ in loss.named_parameters()] if hasattr(loss, "named_parameters") else []
    chosen = name or (names[0] if len(names) == 1 else "")
    if chosen not in names:
        wanted = f"parameter {name!r}" if name else "single parameter"
        raise TypeError(f"{type(loss).__name__} has no {wanted}; it has {', '.join(names) or 'none'}")

    def wrapped(*arguments: Any) -> Any:
        value = arguments[-1].T if transposed else arguments[-1]
        return functional_call(loss, {chosen: value}, arguments[:-1])  # type: ignore[arg-type]

    return wrapped


def transposed_proxies(loss: Loss) -> Loss:
    """For a module that holds its proxies as (D, C), such as pytorch-metric-learning's."""
    return with_parameter(loss, transposed=True)


def fitting(loss: Loss, signature: str) -> Loss:
    """What `check` does by itself: scores by keyword, `indices_tuple` as index tensors, a module's own parameter replaced."""
    parts = signature.split(", ")
    if parts[-1] == "scores" and keyword_of_scores(loss):
        return with_scores(loss)
    fitted, last = loss, parts[-1].rstrip("*")
    if parts[-1].endswith("*") and last in _PARAMETERS and hasattr(loss, "named_parameters"):
        names = [name for name, _ in loss.named_parameters()]
        chosen = next((name for name in _PARAMETERS[last] if name in names), names[0] if len(names) == 1 else None)
        if chosen is not None:
            fitted = with_parameter(loss, chosen)
    if "triplets" in parts and "indices_tuple" in _parameters(loss):
        fitted = with_triplets(fitted)
    return fitted


def pair_matrix(loss: Loss) -> Loss:
    """For loss(similarities (N, N), labels): gives it embeddings @ embeddings.T."""
    framework = framework_of(loss)
    return lambda embeddings, labels: through(framework, SIMILARITIES, loss, embeddings, labels)


def distance_matrix(loss: Loss) -> Loss:
    """For loss(distances (N, N), labels): Euclidean, with gradient 0 (not NaN) between equal rows."""
    framework = framework_of(loss)
    return lambda embeddings, labels: through(framework, distances(framework), loss, embeddings, labels)


def pair_distances(loss: Loss) -> Loss:
    """For loss(distances (N,), similar) of a set of pairs (a, b, similar): Euclidean, with gradient 0 (not NaN) between equal rows.

    A loss that takes them in the other order: `pair_distances(labels_first(loss))`.
    """
    framework = framework_of(loss)
    return lambda a, b, *rest: through(framework, lengths(framework), loss, a - b, *rest, signs=(1, -1))


def labels_first(loss: Loss) -> Loss:
    """For loss(labels, embeddings)."""
    return lambda embeddings, labels, *rest: loss(labels, embeddings, *rest)


def item(loss: Loss, key: int | str) -> Loss:
    """For a loss that returns a tuple, dict or object: result[key] or result.key."""

    def wrapped(*arguments: Any) -> Any:
        result = loss(*arguments)
        return getattr(result, key) if isinstance(key, str) and hasattr(result, key) else result[key]

    return wrapped


def keyword_of_scores(loss: Loss) -> str | None:
    """Name of the parameter that takes the scores of a set with scores; None if it is the third positional one."""
    names = _parameters(loss)
    return next((name for name in _SCORES if name in names), None)


def _parameters(loss: Loss) -> list[str]:
    """Names in the signature of a function or of a module's forward; none where it cannot be seen."""
    function = loss.forward if hasattr(loss, "forward") else loss
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


ADAPTERS: dict[str, Callable[[Loss], Loss]] = {
    "normalised": normalised,
    "with-scores": with_scores,
    "without-scores": without_scores,
    "with-triplets": with_triplets,
    "transposed-proxies": transposed_proxies,
    "pair-matrix": pair_matrix,
    "distance-matrix": distance_matrix,
    "pair-distances": pair_distances,
    "labels-first": labels_first,
}
