"""The content of pictures is in the fingerprints of a run's data, and a run takes no picture that has changed since."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import torch
from helpers import tiny
from PIL import Image

from paper_recipes.runner.data import batches, pictures
from paper_recipes.runner.data.run_data import DataError
from ports import images
from ports.images import ImageError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    tiny.make_data(tmp_path / "data")
    return tmp_path / "data"


def paint(path):
    """One pixel by one grey level: nothing that an eye would see."""
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)


def looked(root):
    return pictures.looked_at(tiny.make_data(root), progress=False)


def test_one_pixel_changes_the_fingerprint_of_its_part_alone(root):
    before = looked(root).description
    paint(root / "7_2.png")  # a test picture
    after = looked(root).description
    assert after["test"]["fingerprint"] != before["test"]["fingerprint"]
    assert after["test"]["list_sha256"] == before["test"]["list_sha256"]
    assert after["train"] == before["train"]


def test_the_list_alone_is_what_it_was_without_pictures(root):
    bare, data = tiny.make_data(root), looked(root)
    assert data.description["train"]["list_sha256"] == bare.train.fingerprint()
    assert data.train.fingerprint() != bare.train.fingerprint()


def test_subsets_keep_what_is_known_of_their_pictures(root):
    data = looked(root)
    part = data.train.subset(np.array([5, 2]))
    assert np.array_equal(part.digests, data.train.digests[[5, 2]])


def test_a_picture_that_changes_during_a_run_is_refused_by_name(root):
    data = looked(root)
    paint(root / "6_1.png")
    with pytest.raises(ImageError, match=r"6_1\.png: the file has changed: its sha256 is [0-9a-f]{16}, it was"):
        list(batches.test_batches(data.test, images.RllSop(), batch_size=4, device=torch.device("cpu")))


def test_a_missing_picture_is_named(root):
    data = tiny.make_data(root)
    (root / "3_3.png").unlink()
    with pytest.raises(DataError, match=r"3_3\.png: cannot be read"):
        pictures.looked_at(data, progress=False)


def test_the_list_is_one_that_sha256sum_checks(root, tmp_path):
    odd = root / "a\\b\nc.png"
    shutil.copy(root / "0_0.png", odd)
    data = tiny.make_data(root)
    data.train.paths[0] = odd.name
    data = pictures.looked_at(data, progress=False)
    path = tmp_path / pictures.LIST
    pictures.write_list(path, data)
    assert pictures.read_list(path) == pictures.listed(data) and len(pictures.listed(data)) == 40
    pictures.check_list(path, data)
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--check", "--quiet", path], cwd=root, check=False).returncode == 0
    paint(root / "7_2.png")
    with pytest.raises(DataError, match=r"began with other pictures: 7_2\.png has changed"):
        pictures.check_list(path, looked(root) if not odd.exists() else pictures.looked_at(data, progress=False))


def test_a_line_that_is_no_sha256_is_named(tmp_path):
    (tmp_path / "l").write_text("0" * 64 + "  a.png\nnonsense\n")
    with pytest.raises(DataError, match="line 2 is not a sha256 and a picture: 'nonsense'"):
        pictures.read_list(tmp_path / "l")


def test_a_run_writes_the_list_and_is_not_resumed_with_a_swapped_picture(root, tmp_path):
    out = tmp_path / "run"
    tiny.start(out, root, iterations=3)
    assert len(pictures.read_list(out / pictures.LIST)) == 40
    shutil.copy(root / "0_0.png", root / "1_1.png")
    with pytest.raises(DataError, match=r"began with other pictures: 1_1\.png has changed"):
        tiny.start(out, root, iterations=3, resume=True)
