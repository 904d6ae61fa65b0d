"""Which list of a user's is trained on, asks, and is searched, and whether they say what the recipe needs to know."""

from __future__ import annotations

from pathlib import Path

from paper_recipes.recipe import Recipe
from ports.datasets.split import DatasetError, Split


def of(recipe: Recipe, path: Path, lists: dict[str, Split], *, training: bool) -> dict[str, Split]:
    """The lists by role: "train", "test" (the queries) and, where they are, "gallery" and "multi_query".

    training: without it a train list may be missing, and "train" is empty. Raises DatasetError: a list or a column that the
    recipe needs is not there.
    """
    protocol = recipe.evaluation.protocol
    there = " and ".join(lists)
    roles = {part: split for part, split in lists.items() if part in ("train", "gallery")}
    if "query" in lists and "gallery" in lists:
        roles["test"] = lists["query"]
    elif "test" in lists and not {"query", "gallery"} & set(lists):
        roles["test"] = lists["test"]
    else:
        raise DatasetError(f"{path}: there is {there}, but a test list, or query and gallery, are needed")
    if protocol == "self" and len(roles["test"]) < 2:
        raise DatasetError(f"{path}: the test list has one image, which has no other to be found")
    if protocol == "reid" and "gallery" not in roles:
        raise DatasetError(f"{path}: {recipe.name} needs query and gallery, there is {there}")
    if protocol == "self" and "gallery" in roles:
        raise DatasetError(f"{path}: {recipe.name} searches one test list within itself, there is {there}")
    if recipe.evaluation.multi_query:
        if "multi_query" not in lists:
            raise DatasetError(
                f"{path}: no multi_query list, which {recipe.name} scores too; `--set multi_query=` leaves these scores out"
            )
        roles["multi_query"] = lists["multi_query"]
    if training and "train" not in roles:
        raise DatasetError(f"{path}: there is {there}, but no train list")
    for part, split in roles.items():
        for what in _needed(recipe, part):
            if getattr(split, what) is None:
                raise DatasetError(f"{path}: {recipe.name} needs {_WORDS[what]}, which the {part} list has not")
    return {"train": roles["test"].subset([], "no list to train on"), **roles}


_WORDS = {"boxes": "boxes", "cameras": "cameras", "tracks": "tracklets"}


def _needed(recipe: Recipe, part: str) -> list[str]:
    """Fields of a part's Split that must be known."""
    if part == "train":
        needed = {"tracks": recipe.sampler.rule == "TrackletSampler"}
    else:
        reid = recipe.evaluation.protocol == "reid"
        needed = {"cameras": reid, "tracks": reid and bool(recipe.evaluation.options.get("tracklets"))}
    return [field for field, wanted in {"boxes": recipe.boxes, **needed}.items() if wanted]
