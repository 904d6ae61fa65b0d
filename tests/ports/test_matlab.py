"""ports.matlab against outputs of MATLAB itself, of the original scripts in Octave, and small cases by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from helpers.paths import REPO
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ports import matlab
from ports.matlab import RandStream, flip, imcrop, imresize, padarray, rgb2gray

# DESIGN.md: 1e-10 in float. Values reach 255 and sums have < 60 taps, so double rounding stays below 1e-11.
DOUBLE = 1e-10


DATA = REPO / "golden" / "data" / "matlab_images"


def cases_of(manifest, npz):
    with np.load(npz) as z:
        arrays = {k: z[k] for k in z.files}
    for case in manifest["cases"]:
        image = arrays[case["input"]]
        yield case, image / 255 if image.dtype == np.uint8 else image, arrays[case["output"]]


@pytest.fixture(scope="module")
def matlab_made():
    manifest = json.loads((DATA / "manifest.json").read_text())["imresize"]
    return list(cases_of(manifest, DATA / "imresize_small.npz"))


@pytest.fixture(scope="module")
def photographs(reference):
    """The two recorded cases on a real photograph, which may not be copied."""
    folder = reference / "imresize"
    every = cases_of(json.loads((folder / "manifest.json").read_text()), folder / "matlab_imresize.npz")
    return [case for case in every if case[1].ndim == 3]


def check_double(cases):
    for case, image, expected in cases:
        got = imresize(image, case["size"], case["kernel"], antialiasing=case["antialiasing"])
        assert got.dtype == np.float64 and got.shape == expected.shape
        assert np.abs(got - expected).max() <= DOUBLE, case["case"]


def test_imresize_double_equals_matlab(matlab_made):
    assert len(matlab_made) == 14
    check_double(matlab_made)


def test_imresize_double_equals_matlab_on_a_photograph(photographs):
    assert len(photographs) == 2
    check_double(photographs)


def pil_bicubic(plane, size):
    picture = Image.fromarray(plane.astype(np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def test_known_wrong_ports_are_caught(matlab_made):
    """PIL's bicubic (taps beyond the border dropped, the rest renormalised) and a wrong filter fail that check."""
    filtered = [c for c in matlab_made if c[0]["antialiasing"] and c[0]["case"].startswith("down")]
    assert len(filtered) == 7
    for case, image, expected in filtered:
        assert np.abs(pil_bicubic(image, case["size"]) - expected).max() > 1e-2
        assert np.abs(imresize(image, case["size"], antialiasing=False) - expected).max() > 1e-2


def test_pil_is_right_inside_and_wrong_at_the_border(photographs):
    ((case, image, expected),) = [c for c in photographs if c[0]["antialiasing"]]
    pil = np.stack([pil_bicubic(image[..., c], case["size"]) for c in range(3)], axis=2)
    assert np.abs(pil - expected)[8:-8, 8:-8].max() < 1e-5  # to single precision
    assert np.abs(pil - expected).max() > 1e-3


def naive_pass(column: np.ndarray, n_out: int, scale: float) -> np.ndarray:
    """One bicubic antialiased pass over a vector, pixel by pixel, from the definition."""
    n = len(column)
    support = 2 / min(scale, 1)
    out = np.zeros(n_out)
    for i in range(n_out):
        centre = (i + 0.5) / scale - 0.5  # 0-based
        total = weight_sum = 0.0
        for j in range(math.floor(centre - support) - 1, math.ceil(centre + support) + 2):
            t = abs((centre - j) * min(scale, 1))
            w = 1.5 * t**3 - 2.5 * t**2 + 1 if t <= 1 else -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0
            k = j % (2 * n)
            total += w * column[k if k < n else 2 * n - 1 - k]
            weight_sum += w
        out[i] = total / weight_sum
    return out


def naive_resize_uint8(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    scales = (rows / image.shape[0], columns / image.shape[1])
    out = image.astype(float)
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        out = np.apply_along_axis(naive_pass, axis, out, (rows, columns)[axis], scales[axis])
        out = np.clip(np.floor(out + 0.5), 0, 255)
    return out.astype(np.uint8)


@pytest.mark.parametrize("size", [(7, 9), (20, 11), (13, 40), (30, 30), (1, 1)])
def test_imresize_uint8_equals_definition(size):
    """Rounding after each pass, against a pixel-by-pixel version (our own reading of MATLAB's rule)."""
    image = np.random.default_rng(1).integers(0, 256, (16, 23, 3), dtype=np.uint8)
    got = imresize(image, size)
    assert got.dtype == np.uint8
    assert np.array_equal(got, naive_resize_uint8(image, *size))


def test_imresize_uint8_rounds_after_each_pass(photographs):
    """A port that rounds once at the end differs in many pixels of a real photograph."""
    ((case, image, expected),) = [c for c in photographs if c[0]["antialiasing"]]
    twice = imresize(np.rint(image * 255).astype(np.uint8), case["size"]).astype(int)
    once = np.clip(np.floor(expected * 255 + 0.5), 0, 255).astype(int)  # MATLAB's double result, rounded at the end
    assert 1 <= np.abs(twice - once).max() <= 2  # half a level from the first pass, more beside clipped overshoots
    assert 0.05 < np.mean(twice != once) < 0.25  # 14 % was measured on another picture


def in_double(image: np.ndarray, size, method: str, antialiasing: bool) -> np.ndarray:
    """imresize of grey levels with float64 sums throughout."""
    out_shape, scales = matlab.output_size(image.shape, size)
    cube = image.astype(np.float64)
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        n_in, n_out = cube.shape[axis], out_shape[axis]
        if (n_in, scales[axis]) == (n_out, 1):
            continue
        weights = matlab.resize_weights(n_in, n_out, scales[axis], method, antialiasing)
        front = np.ascontiguousarray(np.moveaxis(cube, axis, 0))
        levels = np.clip(np.floor(weights @ front.reshape(n_in, -1) + 0.5), 0, 255)
        cube = np.moveaxis(levels.reshape(n_out, *front.shape[1:]), 0, axis)
    return cube.astype(np.uint8)


def pictures(rng: np.random.Generator, rows: int, columns: int) -> list[np.ndarray]:
    """Noise; black and white; smooth; four neighbouring levels, which means of two bring to a half all the time."""
    shape = (rows, columns, 3)
    smooth = np.clip(128 + np.cumsum(rng.integers(-3, 4, shape), axis=1), 0, 255)
    return [
        rng.integers(0, 256, shape).astype(np.uint8),
        (255 * rng.integers(0, 2, shape)).astype(np.uint8),
        smooth.astype(np.uint8),
        rng.integers(126, 130, shape).astype(np.uint8),
    ]


def test_float32_passes_give_float64s_levels():
    """1,200 pictures and sizes; exact halves (0.5, 2, 0.25) are where float32 alone rounds the other way."""
    rng = np.random.default_rng(5)
    for method, antialiasing in (("bicubic", True), ("bicubic", False), ("bilinear", True)):
        for _ in range(100):
            rows, columns = rng.integers(1, 90, 2)
            scale = float(rng.choice([0.5, 0.25, 2, 1.5, rng.uniform(0.1, 3)]))
            sizes = [scale, (None, int(rng.integers(1, 120)))]
            for image, size in zip(pictures(rng, rows, columns), sizes * 2):
                got = imresize(image, size, method, antialiasing=antialiasing)
                assert np.array_equal(got, in_double(image, size, method, antialiasing)), (image.shape, size, method)


def test_float32_alone_would_not(monkeypatch):
    """Without a second look at sums near a half, levels differ: what the bound is there for."""
    honest = matlab._in_single
    monkeypatch.setattr(matlab, "_in_single", lambda *how: (honest(*how)[0], 0.0))
    image = pictures(np.random.default_rng(6), 700, 700)[0]
    assert not np.array_equal(imresize(image, 0.7), in_double(image, 0.7, "bicubic", True))


def test_imresize_single_stays_close_to_double():
    """float32 sums of <= 60 taps of values <= 255: 2 passes x 60 x 2^-24 x 255 x 1.5 < 3e-3; typical is far smaller."""
    image = np.random.default_rng(2).uniform(0, 255, (300, 411, 3))
    got = imresize(image.astype(np.float32), (256, None))
    assert got.dtype == np.float32
    double = imresize(image.astype(np.float32).astype(np.float64), (256, None))
    assert np.abs(got - double).max() < 2e-4


def test_one_sided_size_uses_one_scale_and_rounds_up():
    image = np.random.default_rng(3).uniform(size=(300, 199))
    got = imresize(image, (256, math.nan))
    assert got.shape == (256, 170)  # ceil(199 * 256 / 300) = ceil(169.8)
    stretched = imresize(image, (256, 170))  # the columns' scale is 170/199 here, not 256/300
    assert np.abs(got - stretched).max() > 1e-4
    assert np.array_equal(got, imresize(image, 256 / 300))
    assert imresize(image.T, (None, 256)).shape == (170, 256)


def test_smaller_scale_goes_first():
    image = np.random.default_rng(4).integers(0, 256, (40, 40), dtype=np.uint8)
    wide, tall = imresize(image, (30, 10)), imresize(image.T.copy(), (10, 30))
    assert np.array_equal(wide, tall.T)  # columns first in one, rows first in the other


def test_bilinear_by_hand():
    ramp = np.array([[0.0, 1.0, 2.0, 3.0]])
    # Half size with antialiasing: a triangle of width 4 around 0.5 and 2.5, weights 1/8 3/8 3/8 1/8 (edge mirrored).
    expected = [(0 * 1 + 0 * 3 + 1 * 3 + 2 * 1) / 8, (1 * 1 + 2 * 3 + 3 * 3 + 3 * 1) / 8]
    assert np.allclose(imresize(ramp, (1, 2), "bilinear"), [expected], atol=1e-15)
    assert np.allclose(imresize(ramp, (1, 2), "bilinear", antialiasing=False), [[0.5, 2.5]], atol=1e-15)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["bicubic", "bilinear"]),
)
def test_constant_images_stay_constant_and_flips_commute(rows, columns, out_rows, out_columns, method):
    assert (imresize(np.full((rows, columns), 200, np.uint8), (out_rows, out_columns), method) == 200).all()
    image = np.random.default_rng(rows * 41 + columns).uniform(size=(rows, columns))
    got = imresize(image, (out_rows, out_columns), method)
    mirrored = imresize(image[:, ::-1], (out_rows, out_columns), method)[:, ::-1]
    assert np.abs(got - mirrored).max() < 1e-12


def test_imresize_refuses_by_name():
    with pytest.raises(TypeError, match="uint16"):
        imresize(np.zeros((4, 4), np.uint16), 0.5)
    with pytest.raises(ValueError, match="lanczos"):
        imresize(np.zeros((4, 4)), 0.5, "lanczos")
    with pytest.raises(ValueError, match="at most one"):
        imresize(np.zeros((4, 4)), (None, None))
    with pytest.raises(ValueError, match="empty"):
        imresize(np.zeros((0, 4)), (2, 2))
    with pytest.raises(ValueError, match="positive"):
        imresize(np.zeros((4, 4)), -1.0)


def test_imresize_returns_a_fresh_array():
    image = np.zeros((8, 8), np.float32)
    imresize(image, (8, 8))[:] = 1
    assert not image.any()


def test_primitives_equal_the_recorded_calls():
    with np.load(DATA / "primitives_small.npz") as z:
        image = z["image"]
        seen = 0
        for key in z.files:
            if key.startswith("imcrop_"):
                rect = [int(v) for v in key.split("_")[1:]]
                assert np.array_equal(imcrop(image, rect), z[key]), key
                seen += 1
        assert seen == 4
        single = image.astype(np.float32)
        assert np.array_equal(padarray(single, [0, 2, 0], 255, "pre"), z["padarray_pre_0_2_255"])
        assert np.array_equal(padarray(single, [3, 0, 0], 255, "post"), z["padarray_post_3_0_255"])
        assert np.array_equal(flip(image, 2), z["flip_dim2"])


@pytest.mark.parametrize(
    ("rect", "rows", "columns"),
    [
        ([20, 20, 40, 30], (20, 50), (20, 60)),  # MathWorks' help text: 31 x 41
        ([2, 2, 2, 2], (2, 4), (2, 4)),  # 3 x 3
        ([1.5, 2.4, 3, 3.2], (2, 6), (2, 5)),  # 1.5 -> 2, 4.5 -> 5; 2.4 -> 2, 5.6 -> 6
        ([-3, -3, 5, 5], (1, 2), (1, 2)),
    ],
)
def test_imcrop_is_inclusive_and_rounds(rect, rows, columns):
    image = np.arange(100 * 100).reshape(100, 100)
    assert np.array_equal(imcrop(image, rect), image[rows[0] - 1 : rows[1], columns[0] - 1 : columns[1]])


def test_imcrop_beside_the_image_is_empty_and_nan_is_refused():
    assert imcrop(np.zeros((5, 5, 3)), [9, 1, 2, 2]).size == 0
    with pytest.raises(ValueError, match="finite"):
        imcrop(np.zeros((5, 5)), [math.nan, 1, 2, 2])


def test_rgb2gray_equals_the_recorded_table():
    with np.load(DATA / "rgb2gray_lut.npz") as z:
        assert np.array_equal(rgb2gray(z["image"]), z["gray"])


def test_rgb2gray_known_values():
    assert rgb2gray(np.array([[[120, 119, 112]]], np.uint8))[0, 0] == 119  # .2989/.587/.114 would give 118
    grays = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.array_equal(rgb2gray(grays)[0], np.arange(256))


def test_rand_stream_equals_matlab():
    """rng("default"); rand(1, 10) as MathWorks prints it, and rand("twister", 1337); rand(3, 5) filled by columns."""
    default = RandStream(0).rand(1, 10)[0]
    printed = [0.8147, 0.9058, 0.1270, 0.9134, 0.6324, 0.0975, 0.2785, 0.5469, 0.9575, 0.9649]
    assert np.abs(default - printed).max() < 5.1e-5
    block = RandStream(1337).rand(3, 5)
    assert abs(block[1, 0] - 0.158683972154466) < 1e-15 and abs(block[0, 1] - 0.459316887214567) < 1e-15


def test_randperm_equals_matlab():
    assert RandStream(0).randperm(6).tolist() == [6, 3, 5, 1, 2, 4]
    assert RandStream(0).randperm(8).tolist() == [6, 3, 7, 8, 5, 1, 2, 4]
    assert RandStream(42).randperm(15).tolist() == [11, 7, 6, 5, 15, 14, 1, 4, 9, 10, 3, 13, 8, 2, 12]


def test_rand_stream_state_round_trip():
    stream = RandStream(123)
    stream.rand(7, 3)
    state = json.loads(json.dumps(stream.state_dict()))
    expected = stream.rand(1, 700)
    other = RandStream(5)
    other.load_state_dict(state)
    assert np.array_equal(other.rand(1, 700), expected)
    with pytest.raises(ValueError, match="seed"):
        RandStream(-1)
