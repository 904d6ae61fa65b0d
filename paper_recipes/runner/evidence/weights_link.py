"""The first link: the weights that a run starts from, known by their sha256 and by nothing else.

A recipe names the authors' file and, where it is public, the first digits of its sha256. What a file is called proves nothing.
Imports no torch: reports and the leaderboard judge from the run's record alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paper_recipes.letters_start import packing
from paper_recipes.recipe import Recipe
from paper_recipes.runner.evidence.row import Row, unverified

VERIFIED, LETTERS, ANOTHER, UNKNOWN, IMAGES_DIFFER, UNRECORDED = (
    "verified by sha256",
    "the letters' own start",
    "another file",
    "no sha256 to compare with",
    "other images",
    "not recorded",
)
_REFERENCE = "authors' ImageNet model"


def judge(recipe: Recipe, facts: dict[str, Any] | None) -> tuple[str, str]:
    """One of the words above, and a sentence on it; `facts` is the entry "weights" of a run's record."""
    if not facts or not facts.get("sha256"):
        return UNRECORDED, "the record names no weights that the run started from"
    digest, wanted = str(facts["sha256"]), recipe.weights_sha256
    file = f"{Path(str(facts.get('file'))).name} (sha256 {digest[:16]}...)"
    if packing.is_start(facts):
        return (
            LETTERS,
            f"{file} is the letters' own start, by its sha256: trained by this project on symbols, not on ImageNet",
        )
    if wanted and digest.startswith(wanted):
        return VERIFIED, f"{file} is the recipe's file: its sha256 begins with {wanted}"
    if wanted:
        return ANOTHER, f"{file} is not the recipe's file {_name(recipe)}, whose sha256 begins with {wanted}"
    own, theirs = facts.get("recipes_images"), facts.get("own_images")
    known = f"no sha256 of {_name(recipe)} is public; {file} has this network's layers"
    if own is None or own != theirs:
        return IMAGES_DIFFER, f"{known}, but belongs to other images than the recipe's ({theirs}; here {own})"
    return UNKNOWN, f"{known} and belongs to the recipe's images, {own}"


def objection(recipe: Recipe, facts: dict[str, Any] | None) -> str:
    """Why a run from these weights cannot be held to published values; "" where nothing speaks against it."""
    word, sentence = judge(recipe, facts)
    return "" if word in (VERIFIED, UNKNOWN) else f"weights: {sentence}"


def row(recipe: Recipe, facts: dict[str, Any] | None, *, of_run: bool) -> Row:
    """The link's row: of a run, what its record says of the weights; else what a run has to bring."""
    if not of_run:
        known = f" (sha256 {recipe.weights_sha256}...)" if recipe.weights_sha256 else ""
        return unverified("weights", _REFERENCE, f"not verifiable here: bring {_name(recipe)}{known}")
    if not facts:
        return unverified("weights", _REFERENCE, "none: the run started from seeded initial weights")
    word, sentence = judge(recipe, facts)
    if word == LETTERS:
        return Row("weights", "the letters' start", sentence, None, None, word)
    return Row("weights", _REFERENCE, sentence, None, None, word)


def _name(recipe: Recipe) -> str:
    return recipe.weights.split()[0]
