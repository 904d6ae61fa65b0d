"""The Caffe-era pipelines against recorded runs of the original scripts, and against compositions of ports.matlab."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.paths import REPO

from ports.images import OsmResize, OsmTracklet, RllSop, RllV03, RllV04
from ports.images.draws import matlab_crop
from ports.images.osm import corners, crop_box
from ports.images.rll import CAFFE_MEAN, caffe_input, dark_box
from ports.matlab import RandStream, flip, imcrop, imresize, padarray, rgb2gray

NAMES = [
    "rgb_white_border",
    "gray_border",
    "rgb_full",
    "rgb_wide_border",
    "rgb_near_white",
    "h256_portrait",
    "w256_landscape",
    "square256",
]


class Queue:
    """Gives recorded random numbers, and says whether all were used."""

    def __init__(self, values) -> None:
        self.values = [float(v) for v in values]

    def random(self) -> float:
        return self.values.pop(0)


DATA = REPO / "golden" / "data" / "matlab_images"


def record(name, request=None):
    """A recorded run: from golden/data where it is small enough to be there, else from the reference folder."""
    folder, cases = DATA, json.loads((DATA / "manifest.json").read_text())["scripts"]["cases"]
    if not any(c["name"] == name for c in cases):
        assert request is not None
        folder = request.getfixturevalue("reference") / "matlab"
        cases = json.loads((folder / "manifest.json").read_text())["cases"]
    (case,) = [c for c in cases if c["name"] == name]
    with np.load(folder / case["file"]) as z:
        return case, {k: z[k] for k in z.files}


def as_rgb(image):
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


@pytest.mark.parametrize("name", NAMES)
def test_v02_equals_the_recorded_runs(request, name):
    """Whole-numbered values (nothing is resampled in these cases), so equality is exact."""
    case, z = record(name, request)
    image = as_rgb(z["image"])
    pipeline = RllSop(padding=case["crop_padding"], square=case["force_square_size"])
    assert pipeline.border_crop(image).shape == tuple(z["cropped_shape"])
    got = pipeline.test(image)
    assert got.dtype == np.float32 and got.flags["C_CONTIGUOUS"]
    recorded = got.transpose(2, 1, 0)  # MATLAB's (width, height, channel)
    assert recorded.shape == tuple(case["out_shape"])
    assert np.array_equal(recorded[:8, :8], z["out_corner"])
    assert np.array_equal(recorded[-8:, -8:], z["out_last"])
    assert np.array_equal(recorded.sum(axis=(0, 1), dtype=np.float64), z["out_sum_per_channel"])
    if "out" in z:
        assert np.array_equal(recorded, z["out"])


def test_known_wrong_border_crops_are_caught():
    """The crop without imcrop's extra row and column, and `not white`, do not pass the comparison above."""
    _, z = record("rgb_near_white")
    x, y, width, height = z["box_xywh"]
    assert imcrop(z["image"], [x, y, width - 1, height - 1]).shape != tuple(z["cropped_shape"])
    assert RllSop(square=0, white=255).border_crop(z["image"]).shape != tuple(z["cropped_shape"])


def test_v02_random_geometry_equals_the_recorded_draws():
    """A picture whose red and green say row and column; 256 x 256 without border, so it is not resampled."""
    _, z = record("v02_rll_cvpr19")
    rows, columns = np.mgrid[0:256, 0:256]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
    for i, queue in enumerate(z["rand_queue"]):
        rng = Queue(queue)
        out = RllSop().train(image, rng)
        assert rng.values == [] and out.shape == (3, z["height"][i], z["width"][i])
        assert out[2, 0, 0] + 123 + 1 == z["first_row_1based"][i]
        assert out[1, 0, 0] + 117 + 1 == z["first_col_1based"][i]
        assert out[1, 0, 1] - out[1, 0, 0] == z["col_step"][i]


def test_v04_random_geometry_equals_the_recorded_draws(monkeypatch):
    """The final resize is replaced by the identity, as in the recording, so that the crop is visible."""
    _, z = record("v04_rll_tpami")
    monkeypatch.setattr("ports.images.rll.imresize", lambda image, size: image)
    rows, columns = np.mgrid[0:256, 0:256]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
    for i, queue in enumerate(z["rand_queue"]):
        rng = Queue(queue)
        out = RllV04().train(image, rng)
        assert rng.values == [] and out.shape == (3, z["height"][i], z["width"][i])
        assert out[2, 0, 0] + 123 + 1 == z["first_row_1based"][i]
        assert out[1, 0, 0] + 117 + 1 == z["first_col_1based"][i]
        assert out[1, 0, 1] - out[1, 0, 0] == z["col_step"][i]
    test = RllV04().test(image)
    assert [*test.shape[1:], test[2, 0, 0] + 124, test[1, 0, 0] + 118] == z["test_center"].tolist()


def test_centre_crop_and_bgr_equal_the_recorded_calls():
    with np.load(DATA / "primitives_small.npz") as z:
        image = z["image"].astype(np.float32)
        for height, width in [(4, 3), (5, 6), (8, 6)]:
            got = matlab_crop(image, height, width, 0.5, 0.5)
            assert np.array_equal(got, z[f"img_center_crop_{height}_{width}"])
        bgr = caffe_input(image) + np.array(CAFFE_MEAN, np.float32)[:, None, None]
        assert np.array_equal(bgr.transpose(2, 1, 0), z["bgr_permute_213"])


def slow_v02(image, square=256, padding=15):
    """The script's steps one by one with ports.matlab, every intermediate picture made."""
    row, column = np.nonzero(rgb2gray(image) < 250)
    xmin, xmax = max(0, column.min() + 1 - padding), min(image.shape[1], column.max() + 1 + padding)
    ymin, ymax = max(0, row.min() + 1 - padding), min(image.shape[0], row.max() + 1 + padding)
    cut = imcrop(image, [xmin, ymin, xmax - xmin + 1, ymax - ymin + 1]).astype(np.float32)
    if cut.shape[0] > cut.shape[1]:
        cut = imresize(cut, [square, np.nan])
        cut = padarray(cut, [0, (square - cut.shape[1]) // 2, 0], 255, "pre")
        return padarray(cut, [0, square - cut.shape[1], 0], 255, "post")
    if cut.shape[1] > cut.shape[0]:
        cut = imresize(cut, [np.nan, square])
        cut = padarray(cut, [(square - cut.shape[0]) // 2, 0, 0], 255, "pre")
        return padarray(cut, [square - cut.shape[0], 0, 0], 255, "post")
    return imresize(cut, [square, square])


@pytest.mark.parametrize(
    "shape", [(400, 500), (500, 333), (300, 300), (97, 60), (31, 700), (1, 1), (2, 256), (256, 255)]
)
def test_fast_path_equals_the_steps_one_by_one(shape):
    rng = np.random.default_rng(shape[0])
    image = np.full((*shape, 3), 255, np.uint8)
    top, left = shape[0] // 7, shape[1] // 5
    image[top : max(top + 1, shape[0] - 3), left : max(left + 1, shape[1] - left)] = rng.integers(
        0, 250, (max(1, shape[0] - 3 - top), max(1, shape[1] - 2 * left), 3), dtype=np.uint8
    )
    slow = slow_v02(image)
    assert np.array_equal(RllSop().squared(image), slow)
    assert np.array_equal(RllSop().test(image), caffe_input(slow[14:241, 14:241]))
    train = RllV03(crop=224).train(image, Queue([0.4, 0.999, 0.3]))
    assert np.array_equal(train, caffe_input(flip(slow, 2)[31:255, 9:233]))  # ceil(.999*32) = 32, ceil(.3*32) = 10


def test_dark_box_scans_like_a_full_search():
    rng = np.random.default_rng(0)
    for turn in range(120):
        shape = rng.integers(1, 70, 2)
        image = np.full((*shape, 3), 255, np.uint8)
        for _ in range(rng.integers(0, 4)):
            image[rng.integers(shape[0]), rng.integers(shape[1])] = rng.integers(240, 256, 3)
        if turn % 2:  # two opposite corners are looked at first
            image[0, 0], image[-1, -1] = rng.integers(247, 253, (2, 3))
        rows, columns = np.nonzero(rgb2gray(image) < 250)
        expected = (rows.min(), rows.max(), columns.min(), columns.max()) if rows.size else None
        assert dark_box(image) == expected


def test_blank_picture_is_refused():
    with pytest.raises(ValueError, match="blank"):
        RllSop().test(np.full((50, 60, 3), 250, np.uint8))


def test_zero_draw_stays_inside():
    """NumPy's interval holds 0, MATLAB's does not: ceil(0) would be index 0."""
    out = RllSop().train(np.zeros((300, 300, 3), np.uint8), Queue([0.9, 0.0, 0.0]))
    assert out.shape == (3, 227, 227)


def test_rand_stream_drives_a_pipeline():
    image = np.random.default_rng(5).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    first, second = (RllV04().train(image, RandStream(123)) for _ in range(2))
    assert first.shape == (3, 227, 227) and first.dtype == np.float32
    assert np.array_equal(first, second)
    assert not np.array_equal(first, RllV04().train(image, RandStream(124)))


def test_osm_resize_and_box():
    image = np.random.default_rng(6).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    whole = imresize(image.astype(np.float32), (224, 224))
    assert np.array_equal(OsmResize().test(image), caffe_input(whole))
    assert np.array_equal(OsmResize().train(image, np.random.default_rng(0)), caffe_input(whole))
    boxed = imresize(image[9:40, 4:80].astype(np.float32), (224, 224))  # rows 10..40, columns 5..80
    assert np.array_equal(OsmResize().test(image, box=[5, 10, 80, 40]), caffe_input(boxed))
    assert OsmTracklet().test(image).shape == (3, 224, 224)
    assert np.array_equal(OsmTracklet().train(image, np.random.default_rng(0)), OsmResize().test(image))


def test_boxes_of_a_split_become_corners():
    image = np.random.default_rng(8).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    boxes = np.array([[5.0, 10.0, 75.0, 30.0], [1.0, 1.0, 90.0, 60.0], [0.0, 0.0, 20.0, 20.0]])
    for box, corner in zip(boxes, corners(boxes)):
        assert np.array_equal(corners(box), corner)
        # imcrop is the independent reading; one pixel beyond the edge it clips as we do.
        assert np.array_equal(crop_box(image, corner), imcrop(image, box))


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([1, 1, 90, 60], slice(0, 60), slice(0, 90)),
        # Boxes count from 1. A start of 0 is one pixel over the first edge, which is no pixel: not row 0, nor row -1.
        ([0, 3, 5, 7], slice(2, 7), slice(0, 5)),
        ([3, 0, 5, 7], slice(0, 7), slice(2, 5)),
        ([0, 0, 1, 1], slice(0, 1), slice(0, 1)),
        # One pixel over the last edge.
        ([80, 3, 91, 7], slice(2, 7), slice(79, 90)),
        ([3, 50, 5, 61], slice(49, 60), slice(2, 5)),
    ],
)
def test_osm_box_one_pixel_over_an_edge_ends_there(box, rows, columns):
    image = np.random.default_rng(9).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    assert np.array_equal(crop_box(image, box), image[rows, columns])


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [91, 1, 91, 5], [1, 61, 5, 61]])
def test_osm_box_of_no_pixel_is_refused(box):
    with pytest.raises(ValueError, match="holds no pixel of an image of 90x60"):
        crop_box(np.zeros((60, 90, 3), np.uint8), box)


# Two pixels over an edge, on each side; an end before its start; half a pixel.
@pytest.mark.parametrize(
    "box", [[-1, 1, 5, 5], [1, -1, 5, 5], [1, 1, 92, 5], [1, 1, 5, 62], [5, 5, 4, 6], [1.5, 1, 5, 5]]
)
def test_osm_box_outside_is_refused(box):
    with pytest.raises(ValueError, match="not a whole-numbered"):
        crop_box(np.zeros((60, 90, 3), np.uint8), box)


@pytest.mark.parametrize("augmentation", ["flip_cutout", "scale_crop_flip_cutout"])
def test_tracklet_augmentations_are_seeded(augmentation):
    frame = np.random.default_rng(7).integers(0, 256, (256, 128, 3), dtype=np.uint8)
    pipeline = OsmTracklet(augmentation=augmentation)
    outs = [pipeline.train(frame, np.random.default_rng(s)) for s in (1, 1, 2)]
    assert outs[0].shape == (3, 224, 224) and np.array_equal(outs[0], outs[1])
    many = [pipeline.train(frame, np.random.default_rng(s)) for s in range(40)]
    plain = OsmResize().test(frame)
    unchanged = sum(np.array_equal(m, plain) for m in many)
    assert (0 < unchanged < 40) if augmentation == "flip_cutout" else unchanged == 0
    with pytest.raises(ValueError, match="augmentation"):
        OsmTracklet(augmentation="mixup")  # type: ignore[arg-type]
