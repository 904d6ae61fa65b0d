"""decode: what becomes of every kind of picture file, good or bad."""

from __future__ import annotations

import io
import pickle
import zlib

import numpy as np
import pytest
from PIL import Image

from ports.images import (
    Classification,
    ImageError,
    MultiSimilarity,
    OsmResize,
    OsmTracklet,
    RllSop,
    RllV04,
    Xbm,
    decode,
    load,
)

SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:60, 0:80], np.full((60, 80), 90)), axis=2).astype(np.uint8)


def jpeg(array=SMOOTH, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def write(tmp_path, data: bytes, name="picture.jpg"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_png_round_trip_is_exact(tmp_path):
    Image.fromarray(SMOOTH).save(tmp_path / "a.png")
    got = decode(tmp_path / "a.png")
    assert got.dtype == np.uint8 and np.array_equal(got, SMOOTH)
    kept = decode(tmp_path / "a.png", writeable=False)
    assert np.array_equal(kept, got) and not kept.flags.writeable
    got[:] = 0


def test_grey_becomes_three_equal_channels(tmp_path):
    Image.fromarray(SMOOTH[:, :, 0]).save(tmp_path / "grey.png")
    assert np.array_equal(decode(tmp_path / "grey.png"), np.repeat(SMOOTH[:, :, :1], 3, axis=2))


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = decode(write(tmp_path, jpeg(exif=exif)))
    assert rotated.shape == (60, 80, 3)
    assert np.array_equal(rotated, decode(write(tmp_path, jpeg(), "plain.jpg")))


def test_palette_gives_its_colours(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.save(tmp_path / "p.png")
    assert decode(tmp_path / "p.png").tolist() == [[[10, 20, 30], [200, 100, 50]], [[200, 100, 50], [10, 20, 30]]]


def test_alpha_is_composed_over_black(tmp_path):
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").tolist() == [[[200, 100, 50], [0, 0, 0], [40, 20, 10]]]
    Image.fromarray(np.array([[[80, 255], [80, 0]]], np.uint8), "LA").save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png").tolist() == [[[80, 80, 80], [0, 0, 0]]]


def test_one_bit_and_one_pixel(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    assert decode(tmp_path / "bit.png").tolist() == [[[255] * 3, [0] * 3]]
    path = write(tmp_path, jpeg(np.full((1, 1, 3), 77, np.uint8)), "one.jpg")
    assert decode(path).shape == (1, 1, 3)
    assert RllSop().test(decode(path)).shape == (3, 227, 227)


def png_with_depth_16() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])  # 2 x 1, 16 bits, RGB
    rows = zlib.compress(bytes([0]) + bytes(range(12)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def refused_files(tmp_path):
    whole = jpeg()
    photo = jpeg(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    cmyk, deep, real = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(SMOOTH).convert("CMYK").save(cmyk, "JPEG")
    Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3)).save(deep, "PNG")
    Image.fromarray(np.zeros((2, 3), np.float32)).save(real, "TIFF")
    png = io.BytesIO()
    Image.fromarray(SMOOTH).save(png, "PNG")
    broken_png = bytearray(png.getvalue())
    broken_png[len(broken_png) // 2] ^= 0xFF
    return {
        "empty.jpg": (b"", "empty"),
        "half.jpg": (whole[: len(whole) // 2], "truncated"),
        "photo.jpg": (photo[: len(photo) - 2000], "truncated"),
        "head.jpg": (whole[:30], "corrupt or truncated|not a picture"),
        "text.jpg": (b"<html>404</html>", "not a picture"),
        "cmyk.jpg": (cmyk.getvalue(), "CMYK"),
        "gray16.png": (deep.getvalue(), "8 bits"),
        "rgb16.png": (png_with_depth_16(), "16 bits"),
        "float.tif": (real.getvalue(), "8 bits"),
        "half.png": (png.getvalue()[: len(png.getvalue()) // 2], "truncated"),
        "flipped.png": (bytes(broken_png), "corrupt or truncated"),
    }


def test_unusable_files_are_refused_by_name(tmp_path):
    for name, (data, reason) in refused_files(tmp_path).items():
        path = write(tmp_path, data, name)
        with pytest.raises(ImageError, match=reason) as caught:
            decode(path)
        assert str(caught.value).startswith(f"{path}: "), name
        assert caught.value.path == path


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(ImageError, match="cannot be read"):
            decode(path)


def test_error_survives_a_worker_process(tmp_path):
    with pytest.raises(ImageError) as caught:
        decode(tmp_path / "none.jpg")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.path == caught.value.path


class Pictures:
    """A map-style data set of one file that cannot be read."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return load(self.path, RllSop())


def test_error_of_a_torch_loader_worker_is_ours_and_names_the_file(tmp_path):
    data = pytest.importorskip("torch.utils.data")
    path = write(tmp_path, b"<html>404</html>", "text.jpg")
    with pytest.raises(ImageError) as caught:
        next(iter(data.DataLoader(Pictures(path), num_workers=1, multiprocessing_context="fork")))
    last = str(caught.value).rstrip().splitlines()[-1]
    assert last.endswith(f"ImageError: {path}: not a picture, or a format that Pillow does not know")


PIPELINES = [RllSop(), RllV04(), OsmResize(), OsmTracklet(), MultiSimilarity(), Xbm(), Classification()]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (700, 1)])
def test_pictures_of_one_pixel_or_one_row_pass(pipeline, shape):
    image = np.random.default_rng(0).integers(0, 200, (*shape, 3), dtype=np.uint8)
    for out in (pipeline.test(image), pipeline.train(image, np.random.default_rng(1))):
        assert out.dtype == np.float32 and out.shape in ((3, 224, 224), (3, 227, 227)) and np.isfinite(out).all()


def test_load_names_the_file_where_the_pipeline_refuses(tmp_path):
    path = write(tmp_path, jpeg(np.full((9, 9, 3), 255, np.uint8)))
    with pytest.raises(ImageError, match="blank") as caught:
        load(path, RllSop())
    assert str(caught.value).startswith(str(path))
    with pytest.raises(ImageError, match=r"box.*inside 9x9 pixels") as caught:
        load(path, OsmResize(), box=[1, 1, 99, 99])
    assert str(caught.value).startswith(str(path))
    good = write(tmp_path, jpeg(), "good.jpg")
    assert np.array_equal(load(good, RllSop()), RllSop().test(decode(good)))
    train = load(good, RllSop(), np.random.default_rng(3))
    assert np.array_equal(train, RllSop().train(decode(good), np.random.default_rng(3)))
