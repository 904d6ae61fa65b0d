"""The data of a run: the letters, an official data set, a user's folder with one folder per class, or lists of images.

The letters take the way of the authors' lists: they are written as `.mat` splits and read by `caffe_compat.load_split`.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import caffe_compat
from paper_recipes.recipe import Recipe
from paper_recipes.runner.data import letter_archives, list_roles, lists
from paper_recipes.runner.data.letters import places, query_and_gallery, with_boxes, with_cameras
from paper_recipes.runner.data.scale import Plan
from ports import datasets, determinism
from ports.datasets import folder, glyphs
from ports.datasets.layout import LayoutError
from ports.datasets.split import DatasetError, Split


@dataclass
class Data:
    train: Split
    test: Split  # the queries
    description: dict[str, Any]  # JSON types, goes into the run record
    gallery: Split | None = None  # None: every test image is searched for among the others
    multi_query: Split | None = None  # the images that show a query's person under its camera; may be the queries
    own: bool = False  # a user's own folder, or letters in an official layout: nothing published to compare with

    @property
    def images_to_embed(self) -> int:
        """How many images an evaluation takes through the network."""
        more = () if self.multi_query is self.test else self.multi_query
        return len(self.test) + len(self.gallery or ()) + len(more or ())


class DataError(ValueError):
    """Data that a recipe cannot run on: which path, what was expected."""


def cache_folder() -> Path:
    """Where the letters are kept: $DML_PORTS_CACHE, else the user's cache folder."""
    if "DML_PORTS_CACHE" in os.environ:
        return Path(os.environ["DML_PORTS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dml-ports"


def open_embedded(recipe: Recipe, plan: Plan, seed: int) -> Data:
    """Letters drawn by type designers: some classes to train on, others to test on, as many as the plan says.

    The seed chooses the training letters. The test letters and their pictures are the recipe's: whatever the seed, all are asked the same.
    """
    root = cache_folder() / "glyphs"
    splits = glyphs.make_splits()
    train = _some_classes(splits["train"], plan.train_classes, seed)
    test = _some_classes(splits["test"], plan.test_classes, recipe.seed)
    test = _some_pictures(test, plan.test_pictures, recipe.seed)
    try:
        place = glyphs.some(root, [*train.paths, *test.paths])["train"].root
    except OSError as error:
        raise DataError(
            f"{root}: the letters cannot be drawn there ({error.strerror or error}); DML_PORTS_CACHE names another folder"
        ) from error
    train, test = (_through_mat(replace(split, root=place)) for split in (train, test))
    if recipe.sampler.rule == "TrackletSampler":
        train = with_cameras(train)
    if recipe.boxes:
        train, test = with_boxes(train), with_boxes(test)
    test, gallery = query_and_gallery(test, recipe.evaluation)
    multi_query = test if recipe.evaluation.multi_query else None  # what one camera saw of a letter are queries already
    description = _describe("letters", root, train, test, gallery)
    named = splits["test"]
    if named.class_names:  # a .mat in the authors' form has no names
        names = dict(zip(np.unique(named.labels).tolist(), named.class_names))
        description["class_names"] = {str(label): names[label] for label in np.unique(test.labels).tolist()}
    return Data(train, test, description, gallery, multi_query)


def open_folder(recipe: Recipe, root: Path, image_root: Path | None = None, *, training: bool = True) -> Data:
    """The recipe's own data set in its official layout under `root`, lists of images (see `lists`), or any folder that holds
    one folder per class.

    image_root: where the images of lists are; only with lists. training: must lists have a train part?

    Raises DataError, DatasetError or CaffeFormatError: no such folder, an official layout that is not whole, lists that are
    damaged or not enough for the recipe, a folder of no kind.
    """
    if image_root is not None or not root.is_dir():
        if not root.exists():
            raise DataError(f"--data {root}: no such folder")
        return _open_lists(recipe, root, image_root, training)
    about = datasets.describe(recipe.dataset)
    for what, needed, there in (
        ("cameras", recipe.evaluation.protocol == "reid", about.cameras),
        ("boxes", recipe.boxes, about.boxes),
    ):
        if needed and not there:
            raise DataError(f"{recipe.name} needs {what}, which {about.title} has not")
    letters = letter_archives.marker_of(root) is not None
    try:
        splits = datasets.read(recipe.dataset, root, check_counts=not letters)
    except LayoutError as official:  # any other error is about an official folder that is there
        if lists.found(root):
            return _open_lists(recipe, root, None, training)
        if loose := _loose(root):
            raise DataError(f"{official} ({_stray(loose)})") from official
        if (entry := official_entry(recipe.dataset, root)) is not None:
            raise DataError(
                f"{official} (but the folder {entry!r} is named as those of the official {recipe.dataset.upper()} are; to train "
                "on such folders as your own classes, divide them into train/ and test/)"
            ) from official
        return _open_own(recipe, root, official)
    train, test, gallery = splits["train"], splits.get("test", splits.get("query")), splits.get("gallery")
    assert test is not None
    train, test, gallery = (_without_unused_boxes(recipe, split) for split in (train, test, gallery))
    test, gallery = _roles(recipe, test, gallery)
    multi_query = splits.get("multi_query") if recipe.evaluation.multi_query else None
    if recipe.evaluation.multi_query and not multi_query:
        where = f" ({about.title}'s archive holds them in {about.multi_query})" if about.multi_query else ""
        raise DataError(
            f"--data {root}: no images for multiple queries, which {recipe.name} scores too{where}; `--set multi_query=` "
            "leaves these scores out"
        )
    name = f"letters as {recipe.dataset}" if letters else recipe.dataset
    return Data(
        train, test, _describe(name, root, train, test, gallery, multi_query), gallery, multi_query, own=letters
    )


def _roles(recipe: Recipe, test: Split, gallery: Split | None) -> tuple[Split, Split | None]:
    """Queries and gallery for the recipe's protocol, which may not be the data set's own."""
    protocol = recipe.evaluation.protocol
    if protocol == "query-gallery" and gallery is None:
        return query_and_gallery(test, recipe.evaluation)
    if (protocol == "self") != (gallery is None):
        parts = "queries and a gallery" if gallery is not None else "one test set"
        raise DataError(f"{recipe.dataset} has {parts}: protocol {protocol!r} does not apply")
    return test, gallery


def _open_own(recipe: Recipe, root: Path, official: DatasetError) -> Data:
    """A user's pictures: half of the classes train, the others test (or train/ and test/ say which)."""
    if recipe.evaluation.protocol == "reid" or recipe.sampler.rule == "TrackletSampler" or recipe.boxes:
        raise DataError(f"{recipe.name} needs cameras, tracklets or boxes, which a plain folder has not: {official}")
    splits = folder.read(root)
    test, gallery = query_and_gallery(splits["test"], recipe.evaluation)
    description = _describe(f"own folder {root.name}", root, splits["train"], test, gallery)
    names = splits["test"].class_names or []
    description["class_names"] = dict(zip(map(str, np.unique(splits["test"].labels).tolist()), names))
    return Data(splits["train"], test, description, gallery, own=True)


def _open_lists(recipe: Recipe, path: Path, image_root: Path | None, training: bool) -> Data:
    splits = list_roles.of(recipe, path, lists.read(path, image_root), training=training)
    train, test, gallery, multi_query = (
        _without_unused_boxes(recipe, splits.get(part)) for part in ("train", "test", "gallery", "multi_query")
    )
    if recipe.evaluation.protocol == "query-gallery" and gallery is None:
        test, gallery = query_and_gallery(test, recipe.evaluation)
    root = (image_root or (path if path.is_dir() else path.parent)).resolve()
    description = _describe(f"lists of {path.name}", root, train, test, gallery, multi_query)
    return Data(train, test, description, gallery, multi_query, own=True)


def may_be_own(root: Path) -> bool:
    """A look before the lists are read: lists, class folders alone, or letters packed as a data set, all without ImageNet
    weights.
    """
    if not root.is_dir() or lists.found(root):
        return True
    return only_folders(root) or letter_archives.marker_of(root) is not None


def stray_beside(dataset: str, root: Path) -> str | None:
    """What makes `root` no folder of one's own, where it does not look like the official one either; None: it does."""
    places = [root, *(entry for entry in root.iterdir() if entry.is_dir())]
    loose = _loose(root)
    return _stray(loose) if loose and not any(official_entry(dataset, place) for place in places) else None


def _stray(loose: list[str]) -> str:
    return f"nor a folder of your own pictures: those are class folders alone, but {loose[0]} lies there"


def only_folders(root: Path) -> bool:
    """Folders at the top and no list, table, picture or archive beside them."""
    return not _loose(root) and any(entry.is_dir() for entry in root.iterdir())


def _loose(root: Path) -> list[str]:
    """Files directly in `root`, without those that file managers leave there."""
    files = sorted(entry.name for entry in root.iterdir() if not entry.is_dir())
    return [name for name in files if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini")]


def official_entry(dataset: str, root: Path) -> str | None:
    """The name of a folder in `root` that the official layout of `dataset` has; None: it looks like a user's own."""
    names = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    return next((name for name in names if re.fullmatch(datasets.describe(dataset).folders, name)), None)


def _without_unused_boxes(recipe: Recipe, split: Any) -> Any:
    return split if recipe.boxes or split is None else replace(split, boxes=None)


def _through_mat(split: Split) -> Split:
    """Write the split as the authors' .mat and read it back: the letters form takes the real one's path.

    Not into the cache, which other processes use and which may be read-only.
    """
    with tempfile.TemporaryDirectory(prefix="dml-ports-") as folder:
        path = Path(folder) / "list.mat"
        caffe_compat.save_split(split, path)
        return caffe_compat.load_split(path, image_root=split.root)


def _some_classes(split: Split, count: int | None, seed: int) -> Split:
    """`count` classes drawn by the seed with all their images; all classes for None."""
    classes = np.unique(split.labels)
    if count is None:
        return split
    if count > len(classes):
        raise DataError(f"{split.name}: {count} classes were asked for, there are {len(classes)}")
    chosen = determinism.stream(seed, "subset").choice(classes, size=count, replace=False)
    return split.subset(np.isin(split.labels, chosen))


def _some_pictures(split: Split, count: int | None, seed: int) -> Split:
    """`count` pictures of each class, drawn by the seed; all for None or where there are no more."""
    if count is None:
        return split
    order = np.lexsort((determinism.stream(seed, "subset", 1).random(len(split)), split.labels))
    return split.subset(np.sort(order[places(split.labels) < count]))


def _describe(
    name: str, root: Path, train: Split, test: Split, gallery: Split | None, multi_query: Split | None = None
) -> dict[str, Any]:
    def part(split: Split) -> dict[str, Any]:
        return {"images": len(split), "classes": len(np.unique(split.labels)), "fingerprint": split.fingerprint()}

    parts = {"train": part(train), "test": part(test)}
    for key, split in (("gallery", gallery), ("multi_query", multi_query)):
        if split is not None:
            parts[key] = part(split)
    return {"name": name, "root": str(root), **parts}
