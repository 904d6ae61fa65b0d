"""Which weights a run on the letters starts from where none are named: those that this project trained on symbols.

The papers fine-tune a network that knows ImageNet. The letters form does the same on its own scale: BN-Inception recipes begin
with `paper_recipes.letters_start`, unpacked once into the cache folder and read like any other file of weights. There is none for
ResNet-50: those recipes begin from seeded values, and say so.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from pathlib import Path

from paper_recipes.letters_start import packing
from paper_recipes.recipe import Recipe
from paper_recipes.runner.data.run_data import DataError, cache_folder

NONE = Path("none")  # what --weights says for a start from seeded values
WITHOUT = "starts from seeded values: the letters' start is a BN-Inception, and this network is none"


def name(recipe: Recipe) -> str | None:
    """The unpacked file that belongs to the recipe's network; None: there is none for it."""
    if recipe.torch is None:
        return packing.CAFFE
    return packing.PYTORCH if recipe.torch.backbone["class"] == "BNInception" else None


def path(recipe: Recipe, say: Callable[[str], None] = lambda line: None) -> Path | None:
    """The recipe's start in the cache folder, unpacked if need be; None where it has none.

    A cache that may not be written gives way to a temporary folder. Raises DataError where there is no room, or the shipped file is
    damaged.
    """
    wanted = name(recipe)
    if wanted is None:
        return None
    folder = cache_folder() / "letters_start"
    try:
        try:
            return packing.unpacked(wanted, folder, say=say)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            elsewhere = Path(tempfile.gettempdir()) / f"dml-ports-{packing.SHA256[:16]}"
            say(f"{folder} may not be written: the letters' start is unpacked into {elsewhere}")
            return packing.unpacked(wanted, elsewhere, say=say)
    except packing.StartError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(
            f"the letters' start cannot be unpacked: {error.strerror or error} ({error.filename or folder})"
        ) from error
