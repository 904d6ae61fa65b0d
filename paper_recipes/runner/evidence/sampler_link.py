"""The sampler link: which images the authors' programs would put together.

MATLAB's own draws are not recorded, so its samplers are held to their rule, as read in the .m files, over batches of an
uneven data set. Of the Python originals the structure of whole epochs is recorded, and ours must have the same.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import golden
from paper_recipes.recipe import Recipe, Sampler
from paper_recipes.runner.evidence.row import Row, recorded, rule_checked, unverified
from ports import samplers

# sampler -> prefix of its entries among the recorded facts
_RECORDED = {"MsRandomIdentity": "rb_", "FastRandomIdentity": "dm_", "ClassBalanced": "cls_"}
_BATCHES = 60


def sampler(recipe: Recipe) -> Row:
    """Broken rules (MATLAB) or facts that differ from the recorded ones (Python): none may be."""
    facts = recipe.sampler
    if facts.rule in _RECORDED:
        differing, compared = _from_facts(facts.rule)
        return recorded("sampler", "authors' Python sampler, run", compared, float(differing), 0.0)
    check = {
        "ClassEpochSampler": _class_epochs,
        "RandomIdentitySampler": _random_identities,
        "TrackletSampler": _tracklets,
    }.get(facts.rule)
    if check is None:
        return unverified("sampler", "authors' sampler", f"no check of {facts.rule}: tests/ports holds it to its rule")
    broken, compared = check(facts)
    return rule_checked("sampler", "authors' .m sampler, read", compared, float(broken), 0.0)


def _uneven(classes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and class sizes: classes of 1 to 5 images, some shorter than K."""
    sizes = np.arange(classes) % 5 + 1
    return np.repeat(np.arange(classes), sizes), sizes


def _class_epochs(rule: Sampler) -> tuple[int, str]:
    classes = 2 * rule.classes_per_batch + 7
    labels, sizes = _uneven(classes)
    options = {**rule.options, "repeat_first_slice": False}
    draws = samplers.ClassEpochSampler(
        labels, ids=rule.classes_per_batch, images=rule.images_per_class, seed=0, **options
    )
    broken = 0
    for _ in range(2):
        epoch = [draws.next_batch() for _ in range(classes // rule.classes_per_batch)]
        drawn = [labels[batch[:: rule.images_per_class]] for batch in epoch]
        broken += len(np.unique(np.concatenate(drawn))) != sum(map(len, drawn))  # a class twice in an epoch
        broken += sum(_broken_blocks(batch, labels, sizes, rule.images_per_class) for batch in epoch)
    return broken, "classes without replacement, K images each, short classes repeat: broken rules in 2 epochs"


def _random_identities(rule: Sampler) -> tuple[int, str]:
    labels, sizes = _uneven(2 * rule.classes_per_batch + 7)
    draws = samplers.RandomIdentitySampler(labels, ids=rule.classes_per_batch, images=rule.images_per_class, seed=0)
    broken = 0
    for batch in islice(draws, _BATCHES):
        drawn = labels[batch[:: rule.images_per_class]]
        broken += len(batch) != rule.batch_size or len(np.unique(drawn)) != rule.classes_per_batch
        broken += _broken_blocks(batch, labels, sizes, rule.images_per_class)
    return broken, f"P classes afresh, K images each, short classes repeat: broken rules in {_BATCHES} batches"


def _tracklets(rule: Sampler) -> tuple[int, str]:
    """Order a b c a b c; each block is F frames of one tracklet of that person."""
    per_batch = rule.classes_per_batch * rule.options["tracklets_per_class"]
    frames = rule.batch_size // per_batch
    lengths = np.arange(40) % (2 * frames) + 1  # tracklets of 1 to 2 F frames: some shorter than F
    owner = np.repeat(np.arange(40), lengths)
    persons = np.arange(40) // 3
    starts = np.cumsum([0, *lengths])
    draws = samplers.TrackletSampler(
        [range(a, b) for a, b in pairwise(starts)], persons, per_batch=per_batch, frames=frames, seed=0
    )
    broken = 0
    for batch in islice(draws, _BATCHES):
        person = persons[owner[batch[::frames]]]
        half = rule.classes_per_batch
        broken += len(batch) != rule.batch_size or len(np.unique(person[:half])) != half
        broken += bool((person[:half] != person[half:]).any())
        broken += _broken_blocks(batch, owner, lengths, frames)
    compared = f"persons twice in the order a b c a b c, F frames of one tracklet: broken rules in {_BATCHES} batches"
    return broken, compared


def _broken_blocks(batch: list[int], labels: NDArray[Any], sizes: NDArray[Any], per_block: int) -> int:
    """Blocks of K that mix classes, or repeat an image without need (mod(randperm(K), n) + 1 uses every image)."""
    broken = 0
    for block in np.asarray(batch).reshape(-1, per_block):
        label = labels[block[0]]
        broken += bool((labels[block] != label).any())
        broken += len(set(block)) != min(per_block, sizes[label])
    return broken


def _from_facts(rule: str) -> tuple[int, str]:
    """Number of facts that differ over all recorded runs of the original, and what was compared."""
    facts = json.loads((golden.DATA / "samplers" / "facts.json").read_text(encoding="utf-8"))
    differing, runs = 0, 0
    for name, want in facts.items():
        if not name.startswith(_RECORDED[rule]) or "n_batches" not in want or not want["n_batches"]:
            continue  # runs that crashed or gave no batch, and two records of inner lists
        labels = np.random.default_rng(9).permutation(np.repeat(np.arange(len(want["sizes"])), want["sizes"]))
        asked = want.get("batch_size_arg", want.get("B"))
        options: dict[str, Any] = {"ignore": [3]} if "ignore3" in name else {}
        draws = getattr(samplers, rule)(labels, batch_size=asked, images=want["K"], seed=0, strict=False, **options)
        got = _facts_of(list(islice(draws, want["n_batches"])), labels, want["K"])
        cut = not want["contiguous_blocks_of_K"]  # B is no multiple of K: which counts appear is up to the draw
        drawn = ("distinct_labels_per_batch", "per_label_counts")
        differing += sum(value != want[key] for key, value in got.items() if not (cut and key in drawn))
        runs += 1
    return differing, f"batches, their sizes, classes and blocks in {runs} recorded runs: facts that differ"


def _facts_of(batches: list[list[int]], labels: NDArray[Any], images: int) -> dict[str, Any]:
    """The questions that were put to the originals."""
    counts = [Counter(labels[batch].tolist()) for batch in batches]
    blocks = all(len(set(labels[b[s : s + images]].tolist())) == 1 for b in batches for s in range(0, len(b), images))
    return {
        "n_batches": len(batches),
        "batch_sizes": sorted({len(batch) for batch in batches}),
        "distinct_labels_per_batch": sorted({len(count) for count in counts}),
        "per_label_counts": sorted({n for count in counts for n in count.values()}),
        "contiguous_blocks_of_K": blocks,
    }
