"""ImageNet weights that a run starts from: which files fit which network, what was taken, and whose images they expect.

    googlenet_bn.caffemodel                       Caffe recipes (RLL, OSM+CAA)
    bn_inception-52deb4733.pth, -239d2248.pth     PyTorch recipes with BN-Inception (MS, Deep_Metric)
    resnet50-19c8e357.pth and later ones          PyTorch recipes with ResNet-50 (classification, XBM)

The authors' Caffe net is narrower at 4c and 4d (pool_proj of 96 channels) than the PyTorch one (128), so neither's ImageNet
weights fit the other; a googlenet_bn.caffemodel converted to .pth or .safetensors serves Caffe recipes all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe_compat.bn_inception import UNITS, read_weights, to_caffe
from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats.caffemodel import read_caffemodel
from caffe_compat.net import CaffeNet
from caffe_compat.preprocessing import Preprocessing
from paper_recipes.recipe import Recipe
from ports.files import sha256

CAFFE = "B,G,R minus 104,117,123"
PYTORCH = "B,G,R minus 104,117,128"
IMAGENET = "R,G,B in [0, 1], ImageNet mean and deviation"
# What a recipe's pipeline (class of ports.images) gives the network.
PIPELINES = {
    **dict.fromkeys(("RllSop", "RllV03", "RllV04", "OsmResize", "OsmTracklet"), CAFFE),
    **dict.fromkeys(("MultiSimilarity", "DeepMetric"), PYTORCH),
    **dict.fromkeys(("Xbm", "Classification"), IMAGENET),
}
NARROW = "the authors' Caffe net is narrower at 4c and 4d than the PyTorch weights: start from {}"


class WeightsError(ValueError):
    """Weights that do not belong to a recipe's network: which file, what differs."""


@dataclass(frozen=True)
class Loaded:
    """What was taken from a weights file, and the images that belong to it."""

    report: str
    images: str

    def __str__(self) -> str:
        return self.report


def into_caffe(net: CaffeNet, path: Path) -> Loaded:
    """Weights into a Caffe training net by layer name: a .caffemodel (.h5), or a BN-Inception .pth or .safetensors.

    Raises WeightsError where a layer of the trunk is missing or has another shape; then nothing was copied.
    """
    trunk = [f"{unit}{part}" for unit in UNITS for part in ("", "/bn", "/bn/sc")]
    try:
        if path.name.endswith((".pth", ".pt", ".pth.tar", ".safetensors")):
            state, preprocessing, _ = read_weights(path)
            layers = to_caffe(state)
            _has_trunk(net, trunk, layers, path)
            report = f"converted from PyTorch's names: {net.load_caffemodel(layers)}"
            return Loaded(report, in_words(preprocessing))

        blobs = read_caffemodel(path)
        _has_trunk(net, trunk, blobs, path)
        return Loaded(str(net.load_caffemodel(blobs)), CAFFE)
    except CaffeFormatError as error:
        hint = f"; {NARROW.format('googlenet_bn.caffemodel')}" if "pool_proj" in str(error) else ""
        where = "" if str(path) in str(error) else f"{path}: "
        raise WeightsError(f"{where}{error}{hint}") from error


def _has_trunk(net: CaffeNet, trunk: list[str], layers: Any, path: Path) -> None:
    """Caffe loads what it finds and is silent about the rest; weights without the trunk are no start."""
    wanted = [name for name in trunk if name in net.params] or list(net.params)
    missing = [name for name in wanted if name not in layers]
    if missing:
        raise WeightsError(
            f"{path}: no ImageNet weights of this network: {len(missing)} of {len(wanted)} layers of the trunk are not in "
            f"it, {missing[0]!r} first"
        )


def in_words(preprocessing: Preprocessing | None) -> str:
    """The images of a weights file in the words of `PIPELINES`."""
    if preprocessing is None:
        return "images unknown"
    order = ",".join(preprocessing.channel_order)
    if preprocessing.value_range == (0.0, 255.0) and set(preprocessing.std) == {1.0}:
        return f"{order} minus {','.join(f'{value:g}' for value in preprocessing.mean)}"
    return f"{order} in {list(preprocessing.value_range)}, mean {preprocessing.mean}, deviation {preprocessing.std}"


def record(recipe: Recipe, path: Path, loaded: Any) -> dict[str, Any]:
    """For the run record (JSON types): file, sha256, what was taken, the recipe's images and those the weights belong to.

    What the file is called is no evidence of what it is: `evidence.weights_link` judges by the sha256.
    """
    belongs = loaded.images if isinstance(loaded, Loaded) else "images unknown"
    return {
        "file": str(path),
        "sha256": sha256(path),
        "import": str(loaded),
        "images": images(recipe, belongs),
        "recipes_images": PIPELINES[recipe.images["pipeline"]],
        "own_images": belongs,
    }


def images(recipe: Recipe, belongs: str) -> str:
    """Every recipe fixes its images; says whether they are those that the weights were trained on."""
    own = PIPELINES[recipe.images["pipeline"]]
    fixed = f"the recipe's own, {own}"
    return (
        f"{fixed}, which belong to the weights" if own == belongs else f"{fixed}; the weights' own would be {belongs}"
    )
