"""Data lists in every .mat version, against files written by Octave and against HDF5 written by hand."""

from __future__ import annotations

import struct

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from helpers.paths import DATA

from caffe_compat import CaffeFormatError
from caffe_compat.matlab import lists
from caffe_compat.matlab.lists import load_image_cells, load_split, load_splits, reroot, save_split
from caffe_compat.matlab.read import read_mat
from ports.datasets.split import DatasetError, Split

MAT = DATA / "mat"

SOP = Split(
    [
        "/data/SOP/bicycle_final/111085122871_0.JPG",
        "/data/SOP/bicycle_final/111085122871_1.JPG",
        "/data/SOP/chair_final/251952414262_0.JPG",
        "/data/SOP/lamp_final/a b_2.JPG",
    ],
    np.array([1, 1, 2, 11318]),
    "train",
)
CUB = Split(
    [
        "/data/CUB/001.Black/Black_0001.jpg",
        "/data/CUB/001.Black/Black_0002.jpg",
        "/data/CUB/002.Laysan/L_1.jpg",
    ],
    np.array([1, 1, 2]),
    "train",
    boxes=np.array([[60, 27, 325, 304], [139, 30, 153, 264], [14.5, 112, 388, 186]]),
)
MARS = Split(
    [
        "/data/MARS/0001/0001C1T0001F001.jpg",
        "/data/MARS/0001/0001C1T0001F002.jpg",
        "/data/MARS/0003/0003C2T0004F001.jpg",
        "/data/MARS/0005/a.jpg",
        "/data/MARS/0005/b.jpg",
        "/data/MARS/0005/c.jpg",
    ],
    np.array([1, 1, 3, 5, 5, 5]),
    "train",
    tracks=np.array([0, 0, 1, 2, 2, 2]),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sop_train_v6", SOP),
        ("sop_train_v7", SOP),
        ("cub_train_box_v6", CUB),
        ("cub_train_box_v7", CUB),
        ("cub_train_box_named_v7", CUB),
        ("mars_like_v6", MARS),
        ("mars_like_v7", MARS),
    ],
)
def test_lists_written_by_octave(name, expected):
    assert load_split(MAT / f"{name}.mat") == expected


@pytest.mark.parametrize("split", [SOP, CUB, MARS], ids=["sop", "cub", "mars"])
@pytest.mark.parametrize("version", ["4", "6", "7", "7.3"])
def test_every_version_gives_the_same_split(split, version, tmp_path):
    if version == "4" and split is MARS:
        with pytest.raises(ValueError, match="version 4"):
            save_split(split, tmp_path / "x.mat", version=version)
        assert not list(tmp_path.iterdir())
        return
    save_split(split, tmp_path / "x.mat", version=version)
    assert load_split(tmp_path / "x.mat") == split
    assert [p.name for p in tmp_path.iterdir()] == ["x.mat"]
    head = (tmp_path / "x.mat").read_bytes()[:128]
    if version == "4":
        assert head[1:4] == b"\0\0\0"  # a small type number, as no text begins
    else:
        assert head.startswith(b"MATLAB 7.3 MAT-file" if version == "7.3" else b"MATLAB 5.0 MAT-file")


def test_all_columns_survive(tmp_path):
    split = Split(
        ["r/ä.jpg", "r/b c.jpg"],
        np.array([7, 9]),
        "inshop/gallery",
        super_labels=np.array([1, 2]),
        cameras=np.array([6, 5]),
    )
    for version in ("6", "7", "7.3"):
        save_split(split, tmp_path / "x.mat", version=version)
        again = load_splits(tmp_path / "x.mat")
        assert list(again) == ["gallery"]
        assert again["gallery"].paths == split.paths
        assert again["gallery"].super_labels.tolist() == [1, 2] and again["gallery"].cameras.tolist() == [6, 5]


def test_what_we_save_is_what_the_scripts_index(tmp_path):
    save_split(CUB, tmp_path / "x.mat", version="6", variable="CUB_200_2011_TrainImagePathBoxCell")
    ours, theirs = (scipy.io.loadmat(f) for f in (tmp_path / "x.mat", MAT / "cub_train_box_named_v7.mat"))
    for name in ("CUB_200_2011_TrainImagePathBoxCell", "class_ids"):
        assert ours[name].shape == theirs[name].shape and ours[name].dtype == theirs[name].dtype
        assert str(ours[name].tolist()) == str(theirs[name].tolist())


def test_hdf5_lists_laid_out_as_matlab_does(tmp_path, matlab73):
    def cub(cell, char, double):
        cell([[char(p), double([b])] for p, b in zip(CUB.paths, CUB.boxes)], "TrainImagePathBoxCell")
        double([[1], [1], [2]], "class_ids")

    def mars(cell, char, double):
        frames = [MARS.paths[:2], MARS.paths[2:3], MARS.paths[3:]]
        cell([[cell([[char(p) for p in part]]) for part in frames]], "train_tracklets")
        double([[1, 3, 5]], "train_labels")

    assert load_split(matlab73(tmp_path / "cub.mat", cub)) == CUB
    assert load_split(matlab73(tmp_path / "mars.mat", mars)) == MARS


def test_compressed_hdf5(tmp_path, matlab73):
    def build(cell, char, double):
        cell([[char("x/a.jpg")]], "TestImagePathBoxCell")

    path = matlab73(tmp_path / "x.mat", build)
    with h5py.File(path, "a") as file:
        node = file.create_dataset("class_ids", data=np.array([[4.0]]), compression="gzip", chunks=(1, 1))
        node.attrs["MATLAB_class"] = np.bytes_("double")
    assert load_split(path).labels.tolist() == [4]


def test_values_of_every_kind_are_the_same_in_both_worlds(tmp_path, matlab73):
    def build(cell, char, double):
        char("text", "a")
        char("", "b")
        double([[1, 2, 3], [4, 5, 6]], "c")
        cell([[char("x"), double([[1]])], [char(""), cell([[char("y")]])]], "d")

    nested = np.empty((1, 1), dtype=object)
    nested[0, 0] = "y"
    cells = np.empty((2, 2), dtype=object)
    cells[:] = [["x", np.array([[1.0]])], ["", nested]]
    scipy.io.savemat(tmp_path / "5.mat", {"a": "text", "b": "", "c": np.array([[1.0, 2, 3], [4, 5, 6]]), "d": cells})
    old, new = read_mat(tmp_path / "5.mat"), read_mat(matlab73(tmp_path / "73.mat", build))
    assert set(old) == set(new)
    for values in (old, new):
        assert values["a"] == "text" and values["b"] == ""
        assert values["c"].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert values["d"].shape == (2, 2) and values["d"][0, 0] == "x" and values["d"][1, 0] == ""
        assert values["d"][0, 1].tolist() == [[1]] and values["d"][1, 1][0, 0] == "y"


def test_structs(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"s": {"name": "n", "value": [1.0, 2]}, "t": np.zeros((0, 3))})
    values = read_mat(tmp_path / "x.mat")
    assert values["s"]["name"] == "n" and values["s"]["value"].tolist() == [[1, 2]] and values["t"].shape == (0, 3)


NUMBERS = [np.arange(6).reshape(2, 3).astype(t) for t in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")]
NUMBERS += [
    np.array([[True, False]]),
    np.array([[1 + 2j], [3 - 4j]]),
    np.zeros((0, 3)),
    np.arange(24.0).reshape(2, 3, 4),
]


@pytest.mark.parametrize("array", NUMBERS, ids=lambda a: f"{a.dtype}{a.shape}")
@pytest.mark.parametrize("compressed", [False, True])
def test_numbers_as_scipy_writes_them(array, compressed, tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"a": array}, do_compression=compressed)
    ours = read_mat(tmp_path / "x.mat")["a"]
    assert ours.dtype == array.dtype and ours.shape == array.shape and np.array_equal(ours, array)


def test_big_endian_and_other_text_encodings(tmp_path):
    def big(kind, data):
        return struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
    for type_, encoding in ((4, "utf-16-be"), (17, "utf-16-be"), (16, "utf-8"), (18, "utf-32-be"), (1, "latin-1")):
        body = big(6, struct.pack(">II", 4, 0)) + big(5, struct.pack(">ii", 1, 3)) + big(1, b"s")
        (tmp_path / "x.mat").write_bytes(head + big(14, body + big(type_, "a\xe4b".encode(encoding))))
        assert read_mat(tmp_path / "x.mat") == {"s": "a\xe4b"}


def test_kinds_without_a_list_are_none(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"s": scipy.sparse.eye(3, format="csc"), "t": "text"})
    assert read_mat(tmp_path / "x.mat") == {"s": None, "t": "text"}


def test_image_cells():
    cells = load_image_cells(MAT / "cub_image_data_cell_v7.mat")
    assert cells.name == "train" and cells.labels.tolist() == [1, 2]
    assert [image.shape for image in cells.images] == [(4, 2, 3)] * 2 and cells.images[0].dtype == np.float32
    # Width first, B G R: the mean 104, 117, 123 was subtracted, so grey differs by channel.
    assert cells.images[0][0, 0].tolist() == [-11.5, -3.5, 4.5]
    with pytest.raises(CaffeFormatError, match="load_image_cells"):
        load_split(MAT / "cub_image_data_cell_v7.mat")
    with pytest.raises(CaffeFormatError, match="no cell array of images"):
        load_image_cells(MAT / "sop_train_v7.mat")


def test_inshop_query_and_gallery(tmp_path, monkeypatch, cells):
    assert (lists.INSHOP_QUERIES, lists.INSHOP_GALLERY) == (14_218, 12_612)  # published counts
    monkeypatch.setattr(lists, "INSHOP_QUERIES", 3)
    monkeypatch.setattr(lists, "INSHOP_GALLERY", 2)
    paths = [f"img/{i}.jpg" for i in range(5)]
    # The preparation script saves EvaImagePathBoxCell, the test script reads TestImagePathBoxCell: both are known.
    for name, part in (("EvaImagePathBoxCell", "eval"), ("TestImagePathBoxCell", "test")):
        scipy.io.savemat(tmp_path / "x.mat", {name: cells(paths), "class_ids": np.arange(5)[:, None]})
        splits = load_splits(tmp_path / "x.mat")
        assert list(splits) == [part, "query", "gallery"]
        assert splits["query"].paths == paths[:3] and splits["gallery"].labels.tolist() == [3, 4]
        assert load_split(tmp_path / "x.mat").name == part
        assert len(load_split(tmp_path / "x.mat", part="gallery")) == 2


def test_query_tracklets_are_numbered_from_one(tmp_path, cells):
    tracklets = np.empty((1, 3), dtype=object)
    for i in range(3):
        tracklets[0, i] = cells([f"{i}a.jpg", f"{i}b.jpg"]).T
    values = {"test_tracklets": tracklets, "test_labels": [[4, 0, 6]], "test_cameras": [[1], [2], [3]]}
    scipy.io.savemat(tmp_path / "x.mat", {**values, "query_IDX": [[3], [1]]})
    splits = load_splits(tmp_path / "x.mat")
    assert splits["query"].paths == ["0a.jpg", "0b.jpg", "2a.jpg", "2b.jpg"]
    assert splits["query"].cameras.tolist() == [1, 1, 3, 3] and splits["test"].labels.tolist() == [4, 4, 0, 0, 6, 6]
    scipy.io.savemat(tmp_path / "x.mat", {**values, "query_IDX": [[4]]})
    with pytest.raises(CaffeFormatError, match="query_IDX must number the 3 tracklets"):
        load_splits(tmp_path / "x.mat")


def make_images(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_paths_move_to_a_local_root(tmp_path):
    names = ["bicycle_final/111085122871_0.JPG", "bicycle_final/111085122871_1.JPG"]
    names += ["chair_final/251952414262_0.JPG", "lamp_final/a b_2.JPG"]
    make_images(tmp_path / "here", names)
    split = load_split(MAT / "sop_train_v7.mat", image_root=tmp_path / "here")
    assert split.paths == names and split.root == tmp_path / "here"

    windows = Split([f"D:\\data\\SOP\\{n}".replace("/", "\\") for n in names], SOP.labels, "train")
    save_split(windows, tmp_path / "w.mat")
    assert load_split(tmp_path / "w.mat", image_root=tmp_path / "here").paths == names

    (tmp_path / "here" / names[3]).unlink()
    with pytest.raises(DatasetError, match=r"1 of 4 images are missing: .*a b_2\.JPG"):
        load_split(MAT / "sop_train_v7.mat", image_root=tmp_path / "here")
    with pytest.raises(DatasetError, match="4 of 4 images are missing"):
        load_split(MAT / "sop_train_v7.mat", image_root=tmp_path / "elsewhere")


def test_relative_paths_keep_their_folders(tmp_path):
    make_images(tmp_path, ["a/b/1.jpg", "1.jpg"])
    moved = reroot(Split(["a/b/1.jpg"], np.array([1]), "x"), tmp_path)
    assert moved.paths == ["a/b/1.jpg"]  # the longest match, not the file of the same name at the top


def test_saving_refuses(tmp_path):
    with pytest.raises(ValueError, match="version must be one of"):
        save_split(SOP, tmp_path / "x.mat", version="5")
    mixed = Split(["a", "b"], np.array([1, 2]), "train", tracks=np.array([0, 0]))
    with pytest.raises(ValueError, match="tracklet 0 has several labels"):
        save_split(mixed, tmp_path / "x.mat")
    with pytest.raises(ValueError, match="ASCII"):
        save_split(Split(["ä.jpg"], np.array([1]), "train"), tmp_path / "x.mat", version="4")
    assert not list(tmp_path.iterdir())
