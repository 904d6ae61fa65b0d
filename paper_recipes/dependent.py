"""What follows from a changed setting: lengths that count epochs, phases that make up the run, crops that a network can take.

A derived recipe whose parts contradict each other would train by a schedule that nobody asked for. Here the parts that were not
given are computed anew from those that were, and what cannot be reconciled is refused.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from paper_recipes.nets import osm_caa, parts
from paper_recipes.recipe import Recipe

# Pictures are scaled to this side before a crop is taken, in every pipeline that crops.
_SQUARE = 256


class SettingError(ValueError):
    """A key that names no setting, or a value that does not fit: which, and what would."""


def epoch(recipe: Recipe) -> int | None:
    """Updates of one epoch on the official training set; None where the sampler has none or the counts are not published."""
    from ports import datasets  # NumPy, which listing the recipes does without

    images, classes = datasets.describe(recipe.dataset).counts["train"]
    sampler = recipe.sampler
    if images is None or classes is None:
        return None
    if sampler.rule == "ClassBalanced":
        return images // sampler.batch_size
    if sampler.rule == "FastRandomIdentity":
        return classes * sampler.images_per_class // sampler.batch_size
    return None


def settle(recipe: Recipe, changed: Recipe, given: set[str]) -> Recipe:
    """`changed`, which has the settings `given` (keys) that `recipe` had not, with what depends on them. Raises SettingError."""
    changed = _by_epochs(recipe, changed, given)
    if changed.torch is not None:
        changed = _phases(changed, given)
    if changed.iterations != recipe.iterations or "evaluation.iterations" in given:
        changed = _evaluations(changed, given)
    if changed.caffe is not None and (changed.sampler, changed.embedded) != (recipe.sampler, recipe.embedded):
        changed = _net_inputs(changed)
    for key in ("crop", "size"):
        if changed.images.get(key) != recipe.images.get(key):
            _crop(changed, key)
    return changed


def _net_inputs(changed: Recipe) -> Recipe:
    """The training net for the batch that the sampler gives; one of tracklets has a slice for each of them."""
    sampler, caffe = changed.sampler, changed.the_caffe()
    if sampler.rule != "TrackletSampler":
        net = parts.with_batch(caffe.train_net, sampler.batch_size)
        return dataclasses.replace(changed, caffe=dataclasses.replace(caffe, train_net=net))
    each = sampler.options["tracklets_per_class"]
    for key, images in (("sampler", sampler.images_per_class), ("embedded", changed.embedded.images_per_class)):
        if images % each:
            raise SettingError(
                f"{key}.images_per_class {images}: the {each} tracklets of a person have as many frames each, so it is a "
                f"multiple of {each}"
            )
    net = osm_caa.with_tracklets(
        caffe.train_net, tracklets=sampler.classes_per_batch * each, frames=sampler.images_per_class // each
    )
    # The letters form runs the same net.
    embedded = dataclasses.replace(changed.embedded, classes_per_batch=sampler.classes_per_batch)
    return dataclasses.replace(changed, caffe=dataclasses.replace(caffe, train_net=net), embedded=embedded)


def _by_epochs(recipe: Recipe, changed: Recipe, given: set[str]) -> Recipe:
    """Lengths that were whole epochs before are as many epochs of the new batch or data set."""
    before, now = epoch(recipe), epoch(changed)
    if before is None or now is None or before == now or recipe.torch is None:
        return changed
    if now == 0:
        raise SettingError(
            f"a batch of {changed.sampler.batch_size} images is larger than an epoch of {changed.dataset}"
        )

    def scaled(key: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return value if key in given else tuple(scaled("", item) for item in value)
        return value if key in given or value % before else value // before * now

    assert changed.torch is not None
    phases = tuple(
        dataclasses.replace(
            phase,
            iterations=scaled(f"torch.phases.{number}.iterations", phase.iterations),
            drops=scaled(f"torch.phases.{number}.drops", phase.drops),
        )
        for number, phase in enumerate(changed.torch.phases, 1)
    )
    evaluation = dataclasses.replace(
        changed.evaluation, iterations=scaled("evaluation.iterations", changed.evaluation.iterations)
    )
    return dataclasses.replace(
        changed,
        torch=dataclasses.replace(changed.torch, phases=phases),
        evaluation=evaluation,
        iterations=scaled("iterations", changed.iterations),
        snapshot_every=scaled("snapshot_every", changed.snapshot_every),
    )


def _phases(changed: Recipe, given: set[str]) -> Recipe:
    """The phases are the run: its length follows from theirs, or the last one's from the run's."""
    assert changed.torch is not None
    phases = changed.torch.phases
    total = sum(phase.iterations for phase in phases)
    if total != changed.iterations:
        own = {f"torch.phases.{number}.iterations" for number in range(1, len(phases) + 1)} & given
        if own and "iterations" in given:
            raise SettingError(f"iterations {changed.iterations:,}: the phases hold {total:,} updates")
        if own:
            changed = dataclasses.replace(changed, iterations=total)
        else:
            rest = changed.iterations - (total - phases[-1].iterations)
            if rest < 1:
                raise SettingError(
                    f"iterations {changed.iterations:,}: nothing is left for the last phase, the others have "
                    f"{total - phases[-1].iterations:,} updates"
                )
            phases = (*phases[:-1], dataclasses.replace(phases[-1], iterations=rest))
    kept = []
    for number, phase in enumerate(phases, 1):
        late = [drop for drop in phase.drops if drop >= phase.iterations]
        if late and f"torch.phases.{number}.drops" in given:
            raise SettingError(
                f"torch.phases.{number}.drops: the phase has {phase.iterations:,} updates, {late[0]:,} is past it"
            )
        kept.append(dataclasses.replace(phase, drops=tuple(drop for drop in phase.drops if drop not in late)))
    assert changed.torch is not None
    return dataclasses.replace(changed, torch=dataclasses.replace(changed.torch, phases=tuple(kept)))


def _evaluations(changed: Recipe, given: set[str]) -> Recipe:
    """None after the run's last update, which is evaluated in any case."""
    late = [i for i in changed.evaluation.iterations if i > changed.iterations]
    if late and "evaluation.iterations" in given:
        raise SettingError(
            f"evaluation.iterations: the run has {changed.iterations:,} iterations, {late[0]:,} is past it"
        )
    kept = tuple(i for i in changed.evaluation.iterations if i <= changed.iterations) or (changed.iterations,)
    return dataclasses.replace(changed, evaluation=dataclasses.replace(changed.evaluation, iterations=kept))


def _crop(changed: Recipe, key: str) -> None:
    crop = changed.images[key]
    fitting = [side for side in range(1, _SQUARE + 1) if _takes(changed, side)]
    if crop not in fitting:
        network = "this Caffe net" if changed.caffe is not None else changed.torch.backbone["class"]  # type: ignore[union-attr]
        raise SettingError(f"images.{key} {crop}: {network} cannot take it; it can take {_ranges(fitting)}")


def _takes(recipe: Recipe, side: int) -> bool:
    """Do the branches of BN-Inception's blocks fit together at that crop, and the pools behind them their layers?

    Its two stride-2 blocks halve a convolution's map by rounding up and a pool's by rounding down, so both maps must be even.
    The Caffe nets' inner products were made for maps of 28, 14 and 7.
    """
    if recipe.torch is not None and recipe.torch.backbone["class"] != "BNInception":
        return True
    map_3 = _pooled(_pooled((side - 1) // 2 + 1))  # conv1 7 x 7 with stride 2, two pools of 3 x 3 with stride 2
    return map_3 == 28 if recipe.caffe is not None else map_3 > 0 and map_3 % 4 == 0


def _pooled(side: int) -> int:
    return -(-(side - 3) // 2) + 1 if side >= 3 else 0


def _ranges(values: list[int]) -> str:
    """23 to 30, 55 to 62"""
    parts: list[list[int]] = []
    for value in values:
        if parts and parts[-1][1] == value - 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)
