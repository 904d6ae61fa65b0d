"""Damaged .mat files and lists that contradict themselves: errors that say where, at no cost."""

from __future__ import annotations

import struct
import warnings
import zlib

import h5py
import numpy as np
import pytest
import scipy.io

from caffe_compat import CaffeFormatError
from caffe_compat.matlab.lists import load_split
from caffe_compat.matlab.read import read_mat


def column(values):
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TrainImagePathBoxCell": column(["a", "b"]), "class_ids": [[1]]}, "class_ids has 1 entries for 2 rows"),
        ({"TrainImagePathBoxCell": column(["a", "b"])}, "no class_ids"),
        (
            {"TrainImagePathBoxCell": column(["a", 3.0]), "class_ids": [[1], [2]]},
            r"PathBoxCell\{2,1\}: expected an image",
        ),
        ({"TrainImagePathBoxCell": column(["a", ""]), "class_ids": [[1], [2]]}, "empty string"),
        ({"TrainImagePathBoxCell": column(["a"]), "class_ids": [[1.5]]}, "whole numbers"),
        ({"TrainImagePathBoxCell": column(["a"]), "class_ids": [[np.nan]]}, "whole numbers"),
        ({"TrainImagePathBoxCell": column(["a"]), "class_ids": "x"}, "vector of numbers"),
        (
            {"TrainImagePathBoxCell": np.array([["a", np.ones(3)]], dtype=object), "class_ids": [[1]]},
            r"\{1,2\}: expected a box",
        ),
        ({"train_tracklets": column(["a"]), "train_labels": [[1]]}, "cell of frame paths"),
        ({"train_tracklets": column([column(["a"])])}, "no train_labels"),
        ({"numbers": [[1]]}, "no cell array of image paths in it; variables: numbers"),
        ({}, "variables: none"),
        (
            {"TrainPathCell": column(["a"]), "TestPathCell": column(["a"]), "class_ids": [[1]]},
            "several lists, choose part= one of: train, test",
        ),
    ],
)
def test_lists_that_contradict_themselves(variables, words, tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", variables)
    with pytest.raises(CaffeFormatError, match=words) as error:
        load_split(tmp_path / "x.mat")
    assert str(error.value).startswith(str(tmp_path / "x.mat"))


def test_hdf5_references_out_of_range_and_in_circles(tmp_path, matlab73):
    def build(cell, char, double):
        cell([[char("a.jpg")], [char("b.jpg")]], "TrainImagePathBoxCell")
        double([[1], [2]], "class_ids")

    path = matlab73(tmp_path / "x.mat", build)
    with h5py.File(path, "a") as file:
        list_ = file["TrainImagePathBoxCell"]
        good = list_[0, 0]
        list_[0, 0] = list_.ref
    with pytest.raises(CaffeFormatError, match=r"nested more than|whole file"):
        load_split(path)
    with h5py.File(path, "a") as file:
        file["TrainImagePathBoxCell"][0, 0] = good
        offset = file["TrainImagePathBoxCell"].id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset + 8 : offset + 16] = struct.pack("<Q", 1 << 40)
    path.write_bytes(data)
    with pytest.raises(CaffeFormatError, match=r"TrainImagePathBoxCell\{2\}: the reference leads nowhere"):
        load_split(path)


def test_hdf5_cell_of_the_wrong_class(tmp_path, matlab73):
    def build(cell, char, double):
        cell([[double([[1]])]], "TrainImagePathBoxCell")
        double([[1]], "class_ids")

    path = matlab73(tmp_path / "x.mat", build)
    with pytest.raises(
        CaffeFormatError, match=r"TrainImagePathBoxCell\{1,1\}: expected an image path, found a float64"
    ):
        load_split(path)
    with h5py.File(path, "a") as file:
        file["TrainImagePathBoxCell"].attrs["MATLAB_class"] = np.bytes_("table")
    with pytest.raises(CaffeFormatError, match='class "table" is not supported'):
        load_split(path)


def mat5(body):
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + body


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def array(kind, dims, rest=b"", name=b"TrainPathCell"):
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims)) + element(1, name)
    return element(14, head + rest)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"name: 'a prototxt, not a mat file'", "byte order"),
        (mat5(b"\x0e\0\0\0\xff\xff\xff\x7f"), "byte 128: .*claims 2147483647 bytes, 0 are left"),
        (mat5(array(1, (1 << 30, 1))), "1073741824 elements are claimed in 0 bytes"),
        (mat5(array(1, (2, 1), element(5, b"1234") * 2)), "not a matrix"),
        (mat5(array(6, (1 << 20, 1 << 20), element(9, b"\0" * 8))), "has 8 bytes"),
        (mat5(array(4, (1, 1 << 30), element(4, b""))), "has 0 bytes"),
        (mat5(array(4, (1, -3), element(4, b""))), "dimensions"),
        (mat5(array(2, (1 << 20, 1 << 10), element(5, b"\x08\0\0\0") + element(1, b"f".ljust(8, b"\0")))), "claimed"),
        (mat5(array(2, (1 << 20, 1 << 10), element(5, b"\x08\0\0\0") + element(1, b""))), "without a field"),
        (mat5(element(15, b"no zlib data")), "compressed variable cannot be read"),
        (mat5(element(15, zlib.compress(element(5, b"1234")))), "holds element type 5"),
        (mat5(array(99, (1, 1))), "class 99"),
        (mat5(array(6, (1,), element(9, b"\0" * 8))), "dimensions"),
        (mat5(array(4, (1, 2), element(16, b"\xff\xff"))), "not utf-8"),
        (mat5(array(4, (2, 2), element(16, b"\xc3\xa4bc"))), "has 3 characters"),
    ],
)
def test_damaged_files_name_the_byte_and_cost_nothing(data, words, tmp_path):
    (tmp_path / "x.mat").write_bytes(data)
    with pytest.raises(CaffeFormatError, match=words):
        read_mat(tmp_path / "x.mat")


def test_cells_nested_without_end(tmp_path):
    inner = array(1, (0, 0))
    for _ in range(200):
        inner = array(1, (1, 1), inner)
    (tmp_path / "x.mat").write_bytes(mat5(inner))
    with pytest.raises(CaffeFormatError, match="nested more than 32"):
        read_mat(tmp_path / "x.mat")


def test_a_hand_made_file_of_the_same_layout_reads(tmp_path):
    """The elements used above to build damaged files make a good one too."""
    text = "a.jpg".encode("utf-16-le")
    path = array(4, (1, 5), element(17, text), b"")
    body = array(1, (1, 1), path) + array(6, (1, 1), element(9, struct.pack("<d", 3)), b"class_ids")
    (tmp_path / "x.mat").write_bytes(mat5(body))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = load_split(tmp_path / "x.mat")
    assert split.paths == ["a.jpg"] and split.labels.tolist() == [3]
