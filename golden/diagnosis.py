"""Why does a loss differ from its golden set? Tries the known deviations, one at a time and together, and says it in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .adapters import ADAPTERS
from .cases import Case, GoldenSet
from .compare import flat
from .model import compute
from .references import Reference, reference_for
from .search import model, score, search, search_settings
from .sets import load_set
from .targets import Target, run

_LARGEST_BATCH = 30
#: the end of the first line where a loss gives numbers in float32 alone
IN_SINGLE = "in float32:"


@dataclass
class Diagnosis:
    """`matched`: the user's gradient is reproduced. `deviations`: keys of the switches; `error`: what remains, relative."""

    lines: list[str] = field(default_factory=list)
    matched: bool = False
    deviations: tuple[str, ...] = ()
    form: str = ""
    error: float = float("nan")
    settings: dict[str, Any] = field(default_factory=dict)
    effects: dict[str, dict[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        values = dict(vars(self))
        values["error"] = self.error if np.isfinite(self.error) else None
        return values

    def __str__(self) -> str:
        return "\n".join(self.lines)


def diagnose(
    loss: Callable[..., Any], golden_set: GoldenSet | str, *, device: Any = "cpu", framework: str | None = None
) -> Diagnosis:
    """Explain the difference between a loss `(embeddings, labels, ...) -> scalar` and a golden set, in float64.

    A loss that gives no numbers in float64 is run in float32, and held to that precision.
    """
    if isinstance(golden_set, str):
        golden_set = load_set(golden_set)
    found = Diagnosis()
    usable, problems = run(loss, golden_set, "float64", device=device, framework=framework)
    if not usable:
        single, unsolved = run(loss, golden_set, "float32", device=device, framework=framework)
        if single:
            found.lines.append(f"no numbers in float64 ({problems[0][1]}); {IN_SINGLE}")
            usable, problems = single, unsolved
    if problems:
        cases = ", ".join(name for name, _ in problems[:4]) + (", ..." if len(problems) > 4 else "")
        found.lines.append(
            f"no numbers in {len(problems)} of {len(golden_set.cases)} cases ({cases}): {problems[0][1]}"
        )
        if "positional argument" in problems[0][1]:
            found.lines.append(
                f"the set calls the loss with ({golden_set.signature.replace('*', '')}); --adapter NAME fits another signature: "
                + ", ".join(ADAPTERS)
            )
    if not usable:
        return found
    match = usable[0].match
    same_gradient = all(t.gradient_error < match for t in usable)
    if not same_gradient:
        found.lines += _factor(usable)
    reference = reference_for(golden_set.family)
    small = [t for t in usable if len(t.case.arguments[0].array) <= _LARGEST_BATCH]
    if not any(t.gradient_error >= match or t.loss_error >= match for t in small):
        small = usable  # only large batches show the difference
    if reference is not None and small:
        _explain(found, reference, golden_set, small, same_gradient)
    elif not same_gradient and not found.lines:
        found.lines.append("no plain reference of this loss to try deviations on")
        found.lines += _cosines(usable)
    told = _outputs(found, reference, golden_set, usable)
    found.lines += told
    if told and same_gradient:
        return found
    if same_gradient and not any(t.loss_error >= match for t in usable):
        worst = max(t.gradient_error for t in usable)
        found.lines.append(f"equal to {worst:.1e} of the gradient: rounding, or settings or arithmetic in float32")
    elif same_gradient and not found.deviations:
        found.lines.append("the gradient is right, only the reported loss differs" + _loss_factor(usable))
    return found


def _explain(
    found: Diagnosis, reference: Reference, golden_set: GoldenSet, targets: list[Target], same_gradient: bool
) -> None:
    """Fill in deviations of the gradient (unless it is right already) and of the reported loss."""
    match = targets[0].match
    best: frozenset[str] = frozenset()
    if not same_gradient:
        if _settings(found, reference, golden_set, targets, loss_too=True):
            return
        # A known factor explains the whole difference: only its cause is looked for.
        factor_known = bool(found.lines) and "right direction" in found.lines[-1]
        result = search(reference, golden_set.params, targets, match, singles_only=factor_known)
        found.matched, best, found.error = result.error < match, result.deviations, result.error
        if not found.matched and _settings(found, reference, golden_set, targets, loss_too=False):
            return
        unexplained = [t.case.name for t, error in zip(targets, result.errors) if error >= match]
        if not found.matched and 2 * len(unexplained) < len(targets):
            found.lines.append(f"not explained: {', '.join(unexplained)}; the other batches:")
        elif not found.matched and factor_known:
            return
        elif not found.matched:
            if result.direction_error < match:
                names = _sentence(reference, best)
                found.matched, found.deviations = True, tuple(sorted(best))
                found.lines.append(
                    f"the gradient's direction matches if {names}; its length is off by a factor {result.factor:.6g}"
                )
            else:
                found.lines.append("no combination of the known deviations reproduces this gradient")
                if best and result.error < 0.5:
                    found.lines.append(f"nearest ({result.error:.1%} left): {_sentence(reference, best)}")
                found.lines += _nearest(reference, golden_set.params, targets)
            return
    value_deviations = _value(reference, golden_set.params, targets, best)
    if same_gradient and value_deviations:
        found.matched = True
        found.error = max(t.gradient_error for t in targets)
    everything = best | value_deviations
    found.deviations = tuple(d.key for d in reference.deviations if d.key in everything)
    if best:
        error = max((e for e in result.errors if e < match), default=result.error)
        found.lines.append(f"the gradient matches (to {error:.0e} of its largest entry) if:")
    for key in found.deviations:
        effect = _alone(reference, golden_set.params, targets, key)
        found.effects[key] = effect
        told = f" [{_told(effect)}]" if key in best else ""
        found.lines.append(f"  - {reference.words(key)}{told}")
    form = next((n for n, preset in reference.presets.items() if _is_form(preset, best | value_deviations)), "")
    if not form and found.matched:  # a form may contain what is the set's own setting anyway
        forms = {n: score(reference, golden_set.params, targets, preset) for n, preset in reference.presets.items()}
        form = next(
            (n for n, result in forms.items() if result.error < match and result.loss_error < match),
            "",
        )
    if form:
        found.form = form
        found.lines.append(f"this is {form}")
    # Rounding alone separates these: no place in a user's list unless the rest has been found.
    if not value_deviations and any(t.loss_error >= t.match for t in targets) and best:
        model = [_run(reference, golden_set.params, t.case, best)[0] for t in targets]
        if any(abs(m - t.loss) > match * max(abs(t.loss), 1e-12) for m, t in zip(model, targets)):
            found.lines.append("the reported loss differs as well, in a way that is not known" + _loss_factor(targets))


def _settings(
    found: Diagnosis, reference: Reference, golden_set: GoldenSet, targets: list[Target], *, loss_too: bool
) -> bool:
    """Whether other settings of the right formula explain everything; says so in `found`."""
    settings = search_settings(reference, golden_set.params, targets, targets[0].match, loss_too=loss_too)
    if settings:
        theirs = ", ".join(f"{k}={v}" for k, v in settings.items())
        wanted = ", ".join(f"{k}={golden_set.params.get(k)}" for k in settings)
        found.matched, found.settings = True, settings
        found.lines.append(
            f"the formula is right, the settings are not: matches with {theirs}; the set has {wanted}"
            + ("" if loss_too else ", and the reported loss differs")
        )
    return bool(settings)


def _is_form(preset: frozenset[str], found: frozenset[str]) -> bool:
    """Settings as doubles, the base and small constants are below what every batch can tell."""
    tiny = {
        "double_settings", "base_e", "epsilon_each", "zero_dropped", "no_force_epsilon", "unit_without_epsilon",
        "loss_optimised", "loss_weighted",
    }  # fmt: skip
    return preset - tiny == found - tiny and bool(preset - tiny)


def _outputs(found: Diagnosis, reference: Reference | None, golden_set: GoldenSet, targets: list[Target]) -> list[str]:
    """Why further outputs (the attention of `caa`) differ."""
    match = targets[0].match
    names = [
        n for n in targets[0].recorded.outputs if any(t.output_error(n, t.recorded.outputs) >= match for t in targets)
    ]
    lines = []
    for name in names:
        if reference is None:
            lines.append(f"{name} differs")
            continue
        keys = [d.key for d in reference.deviations if d.changes == "output"]
        models = {
            k: [compute(reference, golden_set.params, t.case.arguments, frozenset({k})) for t in targets] for k in keys
        }
        right = [k for k in keys if all(t.output_error(name, m.outputs) < match for t, m in zip(targets, models[k]))]
        found.deviations += tuple(right[:1])
        found.matched |= bool(right)
        lines.append(f"{name} differs" + (f": {reference.words(right[0])}" if right else ""))
    return lines


def _run(
    reference: Reference, params: dict[str, Any], case: Case, deviations: frozenset[str]
) -> tuple[float, np.ndarray]:
    return model(reference, params, case, deviations)


def _value(reference: Reference, params: dict[str, Any], targets: list[Target], best: frozenset[str]) -> frozenset[str]:
    """Deviations of the reported loss on top of those of the gradient, which they leave as it is (to `Target.match`)."""
    order = {"loss": 0, "both": 1}
    keys = sorted((d for d in reference.deviations if d.changes in order), key=lambda d: order[d.changes])
    for extra in [frozenset[str](), *(frozenset({d.key}) for d in keys)]:
        models = [_run(reference, params, t.case, best | extra) for t in targets]
        errors = [abs(value - t.loss) / max(abs(t.loss), 1e-9) for (value, _), t in zip(models, targets)]
        if max(errors) < targets[0].match and all(
            _same_gradient(gradient, t) for (_, gradient), t in zip(models, targets)
        ):
            return extra
    return frozenset()


def _same_gradient(gradient: np.ndarray, target: Target) -> bool:
    """Whether a reference's flat gradient is the user's."""
    theirs = flat(target.gradients)
    return bool(
        np.abs(gradient * target.upstream - theirs).max(initial=0)
        <= target.match * max(np.abs(theirs).max(initial=0), 1e-300)
    )


def _alone(reference: Reference, params: dict[str, Any], targets: list[Target], key: str) -> dict[str, float]:
    """Cosine, norm ratio and largest difference to the recorded gradient when only this deviation is made.

    Median over the batches on which it makes a difference.
    """
    found = []
    for target in targets:
        want = target.want
        whole = _run(reference, params, target.case, frozenset({key}))[1] * target.upstream
        got = flat(target.recorded.view(target.case.unflatten(whole)))
        sizes = np.linalg.norm(want), np.linalg.norm(got)
        difference = np.abs(got - want).max() / max(np.abs(want).max(), 1e-300)
        if min(sizes) > 0 and difference > 1e-12:
            found.append((want @ got / sizes[0] / sizes[1], sizes[1] / sizes[0], difference))
    if not found:
        return {}
    cosine, ratio, difference = np.median(np.array(found), axis=0)
    return {"cosine": float(cosine), "norm_ratio": float(ratio), "difference": float(difference)}


def _told(effect: dict[str, float]) -> str:
    if not effect:
        return "alone: no effect on these batches"
    if effect["cosine"] > 0.9995 and abs(effect["norm_ratio"] - 1) < 5e-3:
        return f"alone: changes {effect['difference']:.0e} of the largest entry"
    return f"alone: cosine {effect['cosine']:.3f}, norm x{effect['norm_ratio']:.3g}"


def _sentence(reference: Reference, deviations: frozenset[str]) -> str:
    return "; ".join(d.words for d in reference.deviations if d.key in deviations)


def _cosines(targets: list[Target]) -> list[str]:
    cosines = [t.cosine for t in targets if np.isfinite(t.cosine)]
    if not cosines:
        return []
    return [
        f"cosine to the recorded gradient: {np.median(cosines):.3f} (median; {min(cosines):.3f} to {max(cosines):.3f})"
    ]


def nearest_form(reference: Reference, params: dict[str, Any], targets: list[Target]) -> tuple[float, float, str]:
    """(cosine, that of the set's own formula, words) of the known form whose gradient points most nearly where the loss's does.

    By the median over the batches; a form is the formula, one of its presets, or the formula with one deviation.
    """

    def cosine(deviations: frozenset[str]) -> float:
        found = []
        for t in targets:
            theirs, ours = flat(t.gradients), _run(reference, params, t.case, deviations)[1]
            size = np.linalg.norm(theirs) * np.linalg.norm(ours)
            found.append(float(theirs @ ours / size) if np.isfinite(size) and size > 0 else 0.0)
        return float(np.median(found))

    forms = {"the formula itself": frozenset[str](), **reference.presets}
    forms |= {f"the formula, but {d.words}": frozenset({d.key}) for d in reference.deviations if d.changes != "loss"}
    cosines = {words: cosine(deviations) for words, deviations in forms.items()}
    best = max(cosines, key=lambda words: cosines[words])
    return cosines[best], cosines["the formula itself"], best


def _nearest(reference: Reference, params: dict[str, Any], targets: list[Target]) -> list[str]:
    cosine, own, words = nearest_form(reference, params, targets)
    told = (
        f"nearest known form, cosine {cosine:.3f}: {words}"
        if cosine > own
        else "no known form is nearer than the set's own"
    )
    return [told, *_cosines(targets)]


def _factor(targets: list[Target]) -> list[str]:
    """Findings that need no reference: a constant factor, one that follows the batch, or a radial difference."""
    match = targets[0].match
    factors, sizes, radial = [], [], True
    for t in targets:
        want, got = t.want, t.got
        if np.linalg.norm(want) == 0:
            continue
        factor = got @ want / (want @ want)
        if np.abs(got - factor * want).max() > match * max(np.abs(got).max(), 1e-300):
            factors.append(np.nan)
        else:
            factors.append(factor)
        sizes.append(len(t.case.arguments[0].array))
        radial &= _radial_only(t)
    if not factors:
        return []
    if np.isfinite(factors).all():
        values, n = np.array(factors), np.array(sizes, float)
        forms = {
            "": np.ones_like(n), "N": n, "1/N": 1 / n, "P = N(N-1)/2": n * (n - 1) / 2, "1/P, P = N(N-1)/2": 2 / (n * (n - 1)),
            "N(N-1)": n * (n - 1), "1/(N(N-1))": 1 / (n * (n - 1)), "N-1": n - 1, "1/(N-1)": 1 / (n - 1),
        }  # fmt: skip
        for words, form in forms.items():
            ratio = values / form
            if np.ptp(ratio) <= match * abs(ratio).max():
                number = f"{ratio[0]:.6g}"
                text = number if not words else words if abs(ratio[0] - 1) < match else f"{number} times {words}"
                told = f" (all batches have {sizes[0]} rows)" if not words and len(set(sizes)) == 1 else ""
                sign = " (sign!)" if ratio[0] < 0 else ""
                return [f"the gradient has the right direction, but {text} times the length{sign}{told}"]
        return ["the gradient has the right direction in every batch, but another length in each"]
    if radial:
        return ["gradients differ only along the embeddings themselves: one of the two L2-normalises inside the loss"]
    return []


def _radial_only(target: Target) -> bool:
    x = np.asarray(target.case.arguments[0].array, np.float64)
    recorded = target.recorded.gradients
    if len(recorded) != 1 or x.shape != recorded[0].shape:
        return target.recorded.rows is not None  # not measurable on what was kept: decided by the other batches
    difference = target.gradients[0] - recorded[0]
    norms = np.maximum((x * x).sum(1, keepdims=True), 1e-300)
    tangent = difference - x * ((x * difference).sum(1, keepdims=True) / norms)
    unit = np.allclose(norms, 1, atol=1e-3)
    return unit and bool(np.abs(tangent).max() <= target.match * np.abs(recorded[0]).max())


def _loss_factor(targets: list[Target]) -> str:
    ratios = np.array([t.loss / t.expected_loss for t in targets if t.expected_loss])
    if len(ratios) and np.ptp(ratios) <= targets[0].match * abs(ratios).max():
        return f": it is {ratios[0]:.6g} times the recorded one"
    return ""
