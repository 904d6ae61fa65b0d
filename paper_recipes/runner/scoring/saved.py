"""Embeddings kept by `evaluate`, and taken up again for other rules without the images or the network.

query_NAME.npy, gallery_NAME.npy      (N, D) float32, raw, one file per embedding
query_labels.npy, gallery_labels.npy  (N,); cameras and tracks likewise, where the data has them
scores.json                           recipe, fingerprint, model, scores
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.run_data import Data
from paper_recipes.runner.files import read_object, write_json
from ports import bounded
from ports.datasets.split import Split
from ports.files import atomic_path

Embeddings = dict[str, NDArray[Any]]
FOLDER = "embeddings"  # of a run directory: what its last evaluation scored
EVALUATION = "evaluation.json"  # in there: of which iteration; written last
_SIDES = ("labels", "cameras", "tracks")  # what the rules need to know of each row


class SavedError(ValueError):
    """A folder of embeddings that cannot be scored: which file and why."""


def save(out: Path, queries: Embeddings, gallery: Embeddings | None, data: Data) -> None:
    sides = [("query", queries, data.test)]
    if gallery is not None and data.gallery is not None:
        sides.append(("gallery", gallery, data.gallery))
    for side, embeddings, split in sides:
        known = {name: getattr(split, name) for name in _SIDES}
        for name, values in {**embeddings, **{key: value for key, value in known.items() if value is not None}}.items():
            # np.save on a name would add .npy
            with atomic_path(out / f"{side}_{name}.npy", parents=True) as temporary, open(temporary, "wb") as file:
                np.save(file, values, allow_pickle=False)


def save_evaluation(
    run: Path, queries: Embeddings, gallery: Embeddings | None, data: Data, iteration: int
) -> list[str]:
    """What an evaluation scored, in place of the one before it; names of the files written, below `run`."""
    folder = run / FOLDER
    (folder / EVALUATION).unlink(missing_ok=True)
    save(folder, queries, gallery, data)
    write_json(folder / EVALUATION, {"iteration": iteration})
    return sorted(f"{FOLDER}/{path.name}" for path in folder.iterdir() if not path.name.startswith("."))


def load_whole(folder: Path, recipe: Recipe) -> tuple[Embeddings, Embeddings | None, Data]:
    """Queries, gallery and what the rules need to know of them, without the data set. Raises SavedError."""
    items = {side: _items(folder, side) for side in ("query", "gallery")}
    test, gallery = items["query"], items["gallery"]
    if test is None:
        raise SavedError(f"{folder} holds no query_labels.npy")
    pooled = [name for name in recipe.multi_query_names if (folder / f"query_{name}.npy").is_file()]
    queries = _side(folder, "query", test, (*recipe.outputs, *pooled))
    others = None if gallery is None else _side(folder, "gallery", gallery, recipe.outputs)
    return queries, others, Data(test, test, {}, gallery)


def _items(folder: Path, side: str) -> Split | None:
    found = {}
    for name in _SIDES:
        if (file := folder / f"{side}_{name}.npy").is_file():
            found[name] = np.load(file, allow_pickle=False)
    if "labels" not in found:
        return None
    return Split([str(row) for row in range(len(found["labels"]))], name=f"{folder}/{side}", **found)


def load(folder: Path, recipe: Recipe, data: Data) -> tuple[Embeddings, Embeddings | None, dict[str, Any]]:
    """Queries, gallery (where the rules have one) and the facts of scores.json.

    Raises SavedError where the folder is of another recipe, or its items are not those of `data`, in that order.
    """
    facts_file = folder / "scores.json"
    if not facts_file.is_file():
        raise SavedError(f"--model {folder}: no scores.json; a folder must be one that `evaluate` wrote")
    try:
        facts = read_object(facts_file, "the facts that `evaluate` wrote")
    except ValueError as error:
        raise SavedError(str(error)) from None
    if facts.get("fingerprint") != recipe.fingerprint():
        raise SavedError(f"{folder}: embeddings of {facts.get('recipe')}, not of {recipe.name} as it is now")
    pooled = () if data.multi_query is None else recipe.multi_query_names
    queries = _side(folder, "query", data.test, (*recipe.outputs, *pooled))
    gallery = None if data.gallery is None else _side(folder, "gallery", data.gallery, recipe.outputs)
    return queries, gallery, facts


def _side(folder: Path, side: str, split: Split, names: tuple[str, ...]) -> Embeddings:
    labels_file = folder / f"{side}_labels.npy"
    if not labels_file.is_file():
        raise SavedError(f"{folder} holds no {side}: these rules need the model itself")
    labels = _array(labels_file)
    if not np.array_equal(labels, split.labels):
        raise SavedError(
            f"{labels_file}: {len(labels)} labels that are not those of {split.name} ({len(split)} images)"
        )
    found = {}
    for name in names:
        file = folder / f"{side}_{name}.npy"
        if not file.is_file():
            raise SavedError(f"{folder} holds no {file.name}")
        found[name] = values = _array(file)
        if values.ndim != 2 or len(values) != len(labels) or values.dtype.kind != "f":
            raise SavedError(f"{file}: {values.dtype} of shape {values.shape}, expected floats ({len(labels)}, D)")
    return found


def _array(file: Path) -> NDArray[Any]:
    try:
        return bounded.read_npy(file)
    except bounded.BoundsError as error:
        raise SavedError(f"{file}: {error}") from None
