"""Files that claim or hold too much, and names that no file should have: refused before anything is written."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
import zlib
from collections import namedtuple

import numpy as np
import pytest
from helpers.golden_cli import golden
from scipy.io import savemat

from caffe_compat import CaffeFormatError
from caffe_compat.files import read_npy, read_npz
from caffe_compat.matlab.lists import load_splits
from caffe_compat.tools.cli import main
from ports import bounded
from ports.datasets import cars, custom
from ports.datasets.extract import extract
from ports.datasets.split import DatasetError
from ports.images.decoding import ImageError, decode

ZEROS = bytes(110_000_000)  # a little more than what a file of 110 kB may hold


def make_tgz(path, members):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


MAKERS = {"tgz": make_tgz, "zip": make_zip}


def refused(archive, folder, match):
    with pytest.raises(DatasetError, match=match) as caught:
        extract(archive, folder, progress=False)
    assert str(archive) in str(caught.value) and "\n" not in str(caught.value)
    assert not [p for p in folder.rglob("*") if p.is_file()]


@pytest.mark.parametrize("kind", MAKERS)
def test_an_archive_that_holds_far_more_than_it_weighs(kind, tmp_path):
    archive = MAKERS[kind](tmp_path / f"bomb.{kind}", [("a/1.jpg", b"1"), ("a/zeros", ZEROS)])
    refused(archive, tmp_path / "out", "would unpack to more than")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a/b/1.jpg", "C:evil"], "outside the folder"),
        (["x" * 300], "a name of 300 bytes"),
        (["/".join("d" * 40) + "/1.jpg"], "has 41 folders"),
        (["a", "a/1.jpg"], "a is a file and a folder in it"),
        (["ok.jpg", "./."], "no name that a file can have"),
    ],
)
def test_names(kind, names, match, tmp_path):
    archive = MAKERS[kind](tmp_path / f"x.{kind}", [(name, b"data") for name in names])
    refused(archive, tmp_path / "out", match)


@pytest.mark.parametrize("kind", MAKERS)
def test_free_space_is_looked_at_first(kind, tmp_path, monkeypatch):
    archive = MAKERS[kind](tmp_path / f"x.{kind}", [("1.jpg", b"1" * 2000), ("2.jpg", b"2" * 2000)])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 3999))
    refused(archive, tmp_path / "out", "needs 0.0 GB unpacked, 0.0 GB are free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 4000))
    assert extract(archive, tmp_path / "out", progress=False) == 2


def test_a_tar_header_that_claims_gigabytes(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, (8 << 30) - 1
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240))
    refused(tmp_path / "x.tar", tmp_path / "out", "damaged at its start")


def test_a_mat_file_that_inflates_to_gigabytes(tmp_path):
    savemat(tmp_path / "cars_annos.mat", {"annotations": np.zeros((4000, 4000))}, do_compression=True)
    raw = (tmp_path / "cars_annos.mat").read_bytes()
    assert len(raw) < 200_000
    (tmp_path / "car_ims").mkdir()
    with pytest.raises(DatasetError, match=r"cars_annos.mat: not a readable .mat file \(byte 128: .*hold more than"):
        cars.read(tmp_path, check_counts=False)
    with pytest.raises(CaffeFormatError, match="hold more than"):
        load_splits(tmp_path / "cars_annos.mat")


def test_a_mat_file_of_nothing_but_cells(tmp_path):
    """8 bytes a cell in the file, a hundred or more in memory."""
    cells = np.empty((130_000, 1), dtype=object)
    cells[:] = [[np.empty((0, 0))]] * 130_000
    savemat(tmp_path / "x.mat", {"train_paths": cells}, do_compression=True)
    with pytest.raises(CaffeFormatError, match="more cells and fields than a file of this size"):
        load_splits(tmp_path / "x.mat")


def test_arrays_that_claim_terabytes(tmp_path, capsys):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": (1 << 40, 2), "descr": "<f4", "fortran_order": False})
    (tmp_path / "x.npy").write_bytes(buffer.getvalue() + bytes(8))
    with pytest.raises(CaffeFormatError, match=r"x.npy: shape \(1099511627776, 2\) of float32 wants 8,796"):
        read_npy(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a:0.npy", buffer.getvalue())
    with pytest.raises(CaffeFormatError, match="wants 8,796"):
        read_npz(tmp_path / "x.npz")
    for name in ("x.npy", "x.npz"):
        assert main(["info", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and name in error and error.count("\n") == 1


def test_an_npz_bomb(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(14_000_000))
    with pytest.raises(CaffeFormatError, match="its members claim more than"):
        read_npz(tmp_path / "x.npz")


def test_arrays_come_out_as_numpy_reads_them(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6).reshape(2, 3)), "c": np.float32(3)}
    arrays |= {"d": np.zeros((0, 4)), "e": np.array(["é", "xy"]), "f": np.array([(1, 2.0)], "i4,f8")}
    np.savez(tmp_path / "x.npz", **arrays)
    found = bounded.read_npz(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == np.asarray(array).dtype and np.array_equal(found[name], array)
        np.save(tmp_path / "x.npy", array)
        assert np.array_equal(bounded.read_npy(tmp_path / "x.npy"), array)


def test_inflate_knows_its_limit():
    assert bounded.inflate(zlib.compress(bytes(1000)), 1000) == bytes(1000)
    with pytest.raises(bounded.BoundsError, match="hold more than 999"):
        bounded.inflate(zlib.compress(bytes(1000)), 999)
    with pytest.raises(bounded.BoundsError, match="cut off"):
        bounded.inflate(zlib.compress(bytes(range(256)))[:-5], 1000)


def test_a_picture_that_claims_a_poster(tmp_path):
    header = b"BM" + (70).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    header += (5000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24)
    (tmp_path / "x.bmp").write_bytes(header + bytes(16))
    with pytest.raises(ImageError, match=r"x.bmp: implausibly large picture \(5000 x 5000 pixels in 70 bytes\)"):
        decode(tmp_path / "x.bmp")


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/secret.jpg", "a/../../secret.jpg"])
def test_lists_may_not_leave_their_root(path, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "l.txt").write_text(f"ok.jpg,1\n{path},2\n")
    (folder / "l.csv").write_text(f"path,label\nok.jpg,1\n{path},2\n")
    for read, name, line in ((custom.read_list, "l.txt", 2), (custom.read_csv, "l.csv", 3)):
        with pytest.raises(
            DatasetError, match=rf"{name}:{line}: 1 of 2 image paths lead out of .*name a root that holds them"
        ):
            read(folder / name)
    # Another root, named by the user, may hold them.
    assert custom.read_list(folder / "l.txt", root="/").paths[1] == path or ".." in path


def test_numbers_beyond_64_bits_name_their_line(tmp_path):
    (tmp_path / "l.txt").write_text("a.jpg 1\nb.jpg 99999999999999999999\n")
    with pytest.raises(DatasetError, match=r"l.txt:2: label 99999999999999999999 is beyond 64 bits"):
        custom.read_list(tmp_path / "l.txt")


def test_golden_check_on_a_record_that_is_null(tmp_path, capsys):
    (tmp_path / "mine.json").write_text("null")
    shown = golden("check", "math:sqrt", "--against", tmp_path / "mine.json")
    assert shown.exit_code == 2 and "a NoneType, not a record" in shown.output and "Traceback" not in shown.output
