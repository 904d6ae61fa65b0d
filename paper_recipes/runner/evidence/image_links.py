"""The images link of Caffe recipes: MATLAB's resize and the authors' pipelines."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

import golden
from paper_recipes.recipe import Recipe
from paper_recipes.runner.evidence.row import Row, recorded, rule_checked, unverified
from ports import images as pipelines
from ports.matlab import imresize


def resize(recipe: Recipe) -> Row:
    """imresize against outputs that MATLAB itself made (double precision)."""
    folder = golden.DATA / "matlab_images"
    cases = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["imresize"]["cases"]
    worst, count = 0.0, 0
    with np.load(folder / "imresize_small.npz") as z:
        for case in cases:
            if case["output"] in z:
                got = imresize(z[case["input"]], tuple(case["size"]), case["kernel"], antialiasing=case["antialiasing"])
                worst = max(worst, float(np.abs(got - z[case["output"]]).max()))
                count += 1
    return recorded("images: resize", "MATLAB's imresize", f"{count} pictures, double precision", worst, 1e-10)


class _Recorded:
    """Gives the recorded draws of MATLAB's rand, one after the other."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = list(values)

    def random(self) -> float:
        return float(self.values.pop(0))


def images(recipe: Recipe) -> Row:
    """The authors' pipeline on a recorded picture, and the crops and flips it makes of recorded random numbers."""
    reference = "authors' .m pipeline"
    fields = {key: value for key, value in recipe.images.items() if key != "pipeline"}
    name = recipe.images["pipeline"]
    if name == "RllV04":
        return _crop_sizes(pipelines.RllV04(**fields), reference)
    if name in ("OsmResize", "OsmTracklet"):
        return _stretched(getattr(pipelines, name)(**fields), boxes=recipe.boxes)
    if name not in ("RllSop", "RllV03"):
        return unverified("images", reference, f"no check of {name}: bring outputs of the authors' script")
    pipeline = getattr(pipelines, name)
    folder = golden.DATA / "matlab_images"
    with np.load(folder / "process_ori_image_aug_v02_rgb_near_white.npz") as z:
        got = (
            pipeline(**{**fields, "square": 0}).test(z["image"]).transpose(2, 1, 0)
        )  # MATLAB's (width, height, channel)
        errors = [
            np.abs(got[:8, :8] - z["out_corner"]).max(),
            np.abs(got[-8:, -8:] - z["out_last"]).max(),
            np.abs(got.sum(axis=(0, 1), dtype=np.float64) - z["out_sum_per_channel"]).max(),
        ]
    # A picture whose red and green say row and column shows which crop was taken.
    rows, columns = np.mgrid[0:256, 0:256]
    picture = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
    with np.load(folder / "train_aug_geometry_v02_rll_cvpr19.npz") as z:
        for i, draws in enumerate(z["rand_queue"]):
            out = pipeline(**fields).train(picture, _Recorded(draws))
            errors += [
                abs(out[2, 0, 0] + 124 - z["first_row_1based"][i]),
                abs(out[1, 0, 0] + 118 - z["first_col_1based"][i]),
                abs(out[1, 0, 1] - out[1, 0, 0] - z["col_step"][i]),
            ]
        count = len(z["rand_queue"])
    # The recordings are of v02; v03 is the same script with the crop size as an argument.
    compared = f"{name}: a bordered picture, {count} crops and flips recorded of v02, grey levels"
    return recorded("images", reference, compared, float(max(errors)), 0.0)


def _crop_sizes(pipeline: pipelines.RllV04, reference: str) -> Row:
    """Height and width of the random crop from recorded random numbers, and the test crop's size and place."""
    with np.load(golden.DATA / "matlab_images" / "train_aug_geometry_v04_rll_tpami.npz") as z:
        errors = []
        for draws, height, width in zip(z["rand_queue"], z["height"], z["width"]):
            got = pipeline.draw_size(_Recorded(draws))
            errors += [abs(got[0] - float(height)), abs(got[1] - float(width))]
        rows, columns = np.mgrid[0:256, 0:256]
        test = pipeline.test(np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8))
        place = [*test.shape[1:], test[2, 0, 0] + 124, test[1, 0, 0] + 118]
        errors += [abs(float(a) - float(b)) for a, b in zip(place, z["test_center"])]
        count = len(z["height"])
    return recorded("images", reference, f"RllV04: {count} recorded crop sizes, the test crop", max(errors), 0.0)


def _stretched(pipeline: pipelines.OsmResize | pipelines.OsmTracklet, *, boxes: bool) -> Row:
    """OSM+CAA's process_image.m: imresize to a square, B,G,R minus the mean; with boxes the box is cut out first.

    Its outputs were not recorded. A picture of the net's own size is not resized (imresize is the link above), so all that
    is left of the rule can be read off: the order of channels and axes, the mean, and the box's first and last pixel.
    """
    side = pipeline.size
    rows, columns = np.mgrid[0 : side + 20, 0 : side + 30]
    picture = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    first_row, first_column = (8, 12) if boxes else (1, 1)
    cut = picture[first_row - 1 :, first_column - 1 :][:side, :side]
    if boxes:
        assert isinstance(pipeline, pipelines.OsmResize)
        corners = [
            first_column,
            first_row,
            first_column + side - 1,
            first_row + side - 1,
        ]  # 1-based, both ends included
        got = pipeline.test(picture, corners)
    else:
        got = pipeline.test(np.ascontiguousarray(cut))
    want = cut[..., ::-1].transpose(2, 0, 1).astype(np.float64) - np.array([104, 117, 123])[:, None, None]
    what = "a picture cut to its box" if boxes else "a picture of the net's size"
    compared = f"{type(pipeline).__name__}: {what}, channels, axes, mean; outputs of process_image.m are not recorded"
    return rule_checked("images", "authors' .m pipeline, read", compared, float(np.abs(got - want).max()), 0.0)
