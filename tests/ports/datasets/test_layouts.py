"""Readers of the official layouts, on small synthetic copies of each layout (made here, from the publishers' format).

The published counts cannot be met by small copies: they are checked by asking for the error, and once per data set by
replacing them with the copy's counts.
"""

import shutil

import numpy as np
import pytest
from helpers.dataset_makers import (
    CARS,
    MAKERS,
    cars_struct,
    make_cars196,
    make_cub,
    make_inshop,
    make_lpw,
    make_market1501,
    make_mars,
    make_sop,
    make_vehicleid,
    publish,
    touch,
)
from scipy.io import savemat

from ports.datasets import DatasetError, cub, describe, inshop, lpw, market1501, mars, names, read, sop
from ports.datasets.archives import prepare


@pytest.mark.parametrize("dataset", MAKERS)
def test_reads_checks_and_counts(dataset, tmp_path, monkeypatch):
    root = tmp_path / "data"
    small = MAKERS[dataset](root)
    splits = read(dataset, root, check_counts=False)
    for part, (images, classes) in small.items():
        assert (len(splits[part]), splits[part].num_classes) == (images, classes), part
        splits[part].check_files()
    assert read(dataset, tmp_path, check_counts=False) == splits  # the folder above it works too
    with pytest.raises(DatasetError, match=rf"not the published {dataset}: .*instead of"):
        read(dataset, root)
    publish(monkeypatch, dataset, small)
    assert read(dataset, root) == splits


@pytest.mark.parametrize("dataset", MAKERS)
@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_from_archives(dataset, kind, tmp_path):
    """What the host packs: everything in one archive below a top folder; Cars196's annotations come as a loose file."""
    MAKERS[dataset](tmp_path / "host" / "data")
    loose = []
    if dataset == "cars196":
        loose = [shutil.move(tmp_path / "host" / "data" / "cars_annos.mat", tmp_path / "cars_annos.mat")]
        packed = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path / "host" / "data")
    else:
        packed = shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path / "host")
    splits = prepare(dataset, [packed, *loose], tmp_path / "out", progress=False, check_counts=False)
    for split in splits.values():
        split.check_files()
    assert len(splits["train"]) and str(splits["train"].root).startswith(str(tmp_path / "out"))


@pytest.mark.parametrize("dataset", MAKERS)
def test_wrong_roots(dataset, tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        read(dataset, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="not found there"):
        read(dataset, tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        read(dataset, tmp_path / "file")


@pytest.mark.parametrize("dataset", ["sop", "cub", "cars196", "inshop", "mars"])
def test_missing_images(dataset, tmp_path):
    MAKERS[dataset](tmp_path / "data")
    splits = read(dataset, tmp_path / "data", check_counts=False)
    first = splits["train"].file(0)
    (tmp_path / "data").joinpath(first).unlink()
    with pytest.raises(DatasetError, match=rf"{dataset}/train: 1 of {len(splits['train'])} images are missing: "):
        read(dataset, tmp_path / "data", check_counts=False)


def test_unknown_dataset():
    with pytest.raises(DatasetError, match="unknown data set 'sopp'; there are cars196, cub"):
        read("sopp", ".")


def test_published_counts_agree_with_each_other():
    """Totals printed by the publishers: SOP 120,053; CUB 11,788; Cars 16,185; In-shop 52,712; MARS 1,191,003; LPW 590,547."""
    total = {name: sum(n for n, _ in describe(name).counts.values() if n) for name in names()}
    del total["vehicleid"]  # its test lists overlap, and leave part of the 221,763 out
    assert total == {"sop": 120053, "cub": 11788, "cars196": 16185, "inshop": 52712, "market1501": 36036, "mars": 1191003,
                     "lpw": 590547}  # fmt: skip


def test_sop_values(tmp_path):
    make_sop(tmp_path / "data")
    splits = sop.read(tmp_path / "data", check_counts=False)
    assert splits["train"].labels.tolist() == [1, 1, 2] and splits["train"].super_labels.tolist() == [1, 1, 3]
    assert splits["test"].paths == ["bicycle_final/5_0.JPG", "bicycle_final/5_1.JPG"]
    sop.write_list(tmp_path / "copy.txt", splits["train"])
    assert (tmp_path / "copy.txt").read_text() == (tmp_path / "data" / "Ebay_train.txt").read_text()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 2 3", r"Ebay_train.txt:3: expected 'image_id"),
        ("3 x 3 a.jpg", r"Ebay_train.txt:3: class_id must be a whole number, got 'x'"),
        ("3 2 3 ../../etc/passwd", r"Ebay_train.txt:3: image path .* leaves the data set"),
        ("3 2 3 /etc/passwd", r"Ebay_train.txt:3: image path"),
    ],
)
def test_sop_bad_lines(tmp_path, line, message):
    make_sop(tmp_path / "data")
    (tmp_path / "data" / "Ebay_train.txt").write_text(f"image_id class_id super_class_id path\n1 1 1 a.JPG\n{line}\n")
    with pytest.raises(DatasetError, match=message):
        sop.read(tmp_path / "data")


def test_cub_values(tmp_path):
    make_cub(tmp_path / "data")
    splits = cub.read(tmp_path / "data", check_counts=False)
    assert splits["train"].labels.tolist() == [1, 1, 100, 100] and splits["test"].labels.tolist() == [101, 101]
    assert splits["train"].boxes[0].tolist() == [61, 27, 325, 304]
    assert splits["test"].class_names == ["101.White_Pelican"]
    file = tmp_path / "data" / "bounding_boxes.txt"
    file.write_text(file.read_text().replace("2 62.0", "2 wide"))
    with pytest.raises(DatasetError, match=r"bounding_boxes.txt:2: expected 'x y width height'"):
        cub.read(tmp_path / "data")
    file.write_text("1 1 1 1 1\n")
    with pytest.raises(DatasetError, match=r"bounding_boxes.txt: image 2 of images.txt line 2 is missing"):
        cub.read(tmp_path / "data")


def test_cars_both_layouts_agree(tmp_path):
    make_cars196(tmp_path / "one")
    one = read("cars196", tmp_path / "one", check_counts=False)
    assert one["train"].boxes[0].tolist() == [30, 52, 216, 95] and one["train"].class_names == ["Car 1", "Car 98"]
    two = tmp_path / "two"
    touch(two, ["cars_train/000001.jpg", "cars_train/000003.jpg", "cars_test/000002.jpg", "cars_test/000004.jpg"])
    (two / "devkit").mkdir()
    savemat(two / "devkit" / "cars_train_annos.mat", {"annotations": cars_struct([CARS[0], CARS[2]], "fname")})
    labelled = two / "devkit" / "cars_test_annos_withlabels.mat"
    savemat(labelled, {"annotations": cars_struct([CARS[1], CARS[3]], "fname")})
    kit = read("cars196", two, check_counts=False)
    for part in ("train", "test"):
        assert np.array_equal(kit[part].labels, one[part].labels) and np.array_equal(kit[part].boxes, one[part].boxes)
    assert kit["train"].paths == ["cars_train/000001.jpg", "cars_test/000002.jpg"]
    savemat(labelled, {"annotations": cars_struct([CARS[1], CARS[3]], "fname", with_class=False)})
    with pytest.raises(DatasetError, match=r"no field 'class'.*cars_test_annos_withlabels.mat"):
        read("cars196", two)
    labelled.write_bytes(b"not MATLAB")
    with pytest.raises(DatasetError, match=r"not a readable .mat file"):
        read("cars196", two)


def test_inshop_values(tmp_path):
    make_inshop(tmp_path / "data")
    splits = inshop.read(tmp_path / "data", check_counts=False)
    assert splits["query"].labels.tolist() == [7] and splits["gallery"].labels.tolist() == [7, 7]
    listing = tmp_path / "data" / "list_eval_partition.txt"
    text = listing.read_text()
    for old, new, message in [
        ("5\n", "6\n", "announces 6 images, it lists 5"),
        ("query", "probe", ":5: status 'probe' is none of"),
        ("id_00000002  train", "item2  train", ":3: item id 'item2'"),
    ]:
        listing.write_text(text.replace(old, new, 1))
        with pytest.raises(DatasetError, match=message):
            inshop.read(tmp_path / "data")
    (tmp_path / "data" / "Eval").mkdir()  # the host's own folders
    (tmp_path / "data" / "Eval" / "list_eval_partition.txt").write_text(text)
    listing.unlink()
    (tmp_path / "data" / "Img").mkdir()
    (tmp_path / "data" / "img").rename(tmp_path / "data" / "Img" / "img")
    assert inshop.read(tmp_path / "data", check_counts=False)["query"].labels.tolist() == [7]


def test_market_values(tmp_path):
    make_market1501(tmp_path / "data")
    splits = market1501.read(tmp_path / "data", check_counts=False)
    assert splits["gallery"].labels.tolist() == [-1, 0, 3] and splits["gallery"].cameras.tolist() == [2, 3, 1]
    # of the boxes drawn by hand, those of the query's person under the query's camera, whatever the sequence
    assert splits["multi_query"].paths == [f"gt_bbox/0003_c6s{s}_000001_00.jpg" for s in (1, 2)]
    shutil.rmtree(tmp_path / "data" / "gt_bbox")
    assert set(market1501.read(tmp_path / "data", check_counts=False)) == {"train", "query", "gallery"}
    touch(tmp_path / "data", ["query/holiday.jpg"])
    with pytest.raises(DatasetError, match=r"holiday.jpg: not a name like"):
        market1501.read(tmp_path / "data")


def test_mars_values(tmp_path):
    make_mars(tmp_path / "data")
    splits = mars.read(tmp_path / "data", check_counts=False)
    assert splits["train"].tracks.tolist() == [0, 0, 1] and splits["train"].cameras.tolist() == [1, 1, 2]
    assert splits["gallery"].labels.tolist() == [-1, 0, 2, 2, 2] and splits["gallery"].paths[0].startswith(
        "bbox_test/00-1/"
    )
    assert splits["query"].tracks.tolist() == [2, 2] and splits["query"].paths == splits["gallery"].paths[2:4]
    savemat(tmp_path / "data" / "info" / "query_IDX.mat", {"query_IDX": [[9]]})
    with pytest.raises(DatasetError, match=r"query_IDX.mat: rows 9 to 9, there are 4"):
        mars.read(tmp_path / "data")
    savemat(tmp_path / "data" / "info" / "tracks_train_info.mat", {"track_train_info": [[1, 7, 1, 1]]})
    with pytest.raises(DatasetError, match=r"row 1 spans lines 1 to 7, train_name.txt has 3"):
        mars.read(tmp_path / "data")


def test_lpw_values(tmp_path):
    make_lpw(tmp_path / "data")
    splits = lpw.read(tmp_path / "data", check_counts=False)
    query = splits["query"]
    assert query.labels.tolist() == [100001, 100001, 100002, 100002, 100010, 100010]  # numeric, not text order
    assert set(query.cameras) == {12} and set(splits["gallery"].cameras) == {11, 13}
    assert query.tracks.tolist() == [0, 0, 1, 1, 2, 2] and len(set(splits["gallery"].tracks)) == 6
    assert splits["train"].labels.tolist() == [200001, 200001, 300001] and splits["train"].tracks.tolist() == [0, 1, 2]
    touch(tmp_path / "data", ["scen1/view1/readme/1.jpg"])
    with pytest.raises(DatasetError, match="readme: not a name like 7"):
        lpw.read(tmp_path / "data")


def test_vehicleid_names_list_and_line(tmp_path):
    make_vehicleid(tmp_path)
    file = tmp_path / "train_test_split" / "test_list_1600.txt"
    for text, message in (
        ("0000004 7\n0000005\n", r"test_list_1600.txt:2: expected 'image vehicle', got '0000005'"),
        ("0000004 seven\n", r"test_list_1600.txt:1: vehicle must be a whole number, got 'seven'"),
        ("../../etc/passwd 7\n", r"test_list_1600.txt:1: image path 'image/../../etc/passwd.jpg' leaves the data set"),
        ("", r"test_list_1600.txt: no images listed"),
        ("0000009 7\n", r"0000009.jpg"),
    ):
        file.write_text(text)
        with pytest.raises(DatasetError, match=message):
            read("vehicleid", tmp_path, check_counts=False)
    file.unlink()
    with pytest.raises(DatasetError, match=r"not VehicleID: train_test_split/test_list_1600.txt not found there"):
        read("vehicleid", tmp_path)
