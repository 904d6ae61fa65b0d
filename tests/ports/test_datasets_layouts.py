"""Readers of the official layouts, on small synthetic copies of each layout (made here, from the publishers' format).

The published counts cannot be met by small copies: they are checked by asking for the error, and once per data set by
replacing the table with the copy's counts.
"""

import shutil

import numpy as np
import pytest
from scipy.io import savemat

from ports.datasets import COUNTS, DatasetError, counts, cub, inshop, lpw, market1501, mars, read, sop
from ports.datasets.archives import prepare


def touch(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"picture")


def make_sop(root):
    root.mkdir(parents=True)
    head = "image_id class_id super_class_id path\n"
    (root / "Ebay_train.txt").write_text(
        head + "1 1 1 bicycle_final/1_0.JPG\n2 1 1 bicycle_final/1_1.JPG\n3 2 3 chair_final/9_0.JPG\n"
    )
    (root / "Ebay_test.txt").write_text(head + "4 3 1 bicycle_final/5_0.JPG\n5 3 1 bicycle_final/5_1.JPG\n")
    touch(root, [f"bicycle_final/{n}.JPG" for n in ("1_0", "1_1", "5_0", "5_1")] + ["chair_final/9_0.JPG"])
    return {"train": (3, 2), "test": (2, 1)}


def make_cub(root):
    names = {1: "001.Black_footed_Albatross", 100: "100.Brown_Pelican", 101: "101.White_Pelican"}
    paths = [f"{names[c]}/{i}.jpg" for c in names for i in (1, 2)]
    touch(root, [f"images/{p}" for p in paths])
    (root / "images.txt").write_text("".join(f"{i} {p}\n" for i, p in enumerate(paths, 1)))
    (root / "image_class_labels.txt").write_text("".join(f"{i} {int(p[:3])}\n" for i, p in enumerate(paths, 1)))
    (root / "classes.txt").write_text("".join(f"{c} {n}\n" for c, n in names.items()))
    (root / "bounding_boxes.txt").write_text("".join(f"{i} {60 + i}.0 27.0 325.0 304.0\n" for i in range(1, 7)))
    return {"train": (4, 2), "test": (2, 1)}


CARS = [("000001.jpg", 1), ("000002.jpg", 98), ("000003.jpg", 99), ("000004.jpg", 196)]


def cars_struct(rows, field, with_class=True):
    dtype = [(f, object) for f in (field, "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", *(["class"] * with_class))]
    return np.array([(name, 30, 52, 246, 147, *([c] * with_class)) for name, c in rows], dtype=dtype)


def make_cars196(root):
    touch(root, [f"car_ims/{name}" for name, _ in CARS])
    names = np.array([f"Car {i}" for i in range(1, 197)], dtype=object)
    table = cars_struct([(f"car_ims/{name}", c) for name, c in CARS], "relative_im_path")
    savemat(root / "cars_annos.mat", {"annotations": table, "class_names": names})
    return {"train": (2, 2), "test": (2, 2)}


def make_inshop(root):
    rows = [(f"img/WOMEN/Dresses/id_0000000{i}/0{j}_1_front.jpg", i, s) for i, j, s in
            [(2, 1, "train"), (2, 2, "train"), (7, 1, "query"), (7, 2, "gallery"), (7, 3, "gallery")]]  # fmt: skip
    touch(root, [row[0] for row in rows])
    lines = "".join(f"{p}   id_0000000{i}  {s}\n" for p, i, s in rows)
    (root / "list_eval_partition.txt").write_text(f"5\nimage_name item_id evaluation_status\n{lines}")
    return {"train": (2, 1), "query": (1, 1), "gallery": (2, 1)}


def make_market1501(root):
    touch(root, [f"bounding_box_train/0002_c{c}s1_000451_03.jpg" for c in (1, 2)] + ["bounding_box_test/Thumbs.db"])
    touch(root, ["query/0003_c6s1_000001_00.jpg", "bounding_box_test/0003_c1s1_000002_01.jpg"])
    touch(root, ["bounding_box_test/-1_c2s1_000002_01.jpg", "bounding_box_test/0000_c3s1_000002_01.jpg"])
    return {"train": (2, 1), "query": (1, 1), "gallery": (3, 3)}


def make_mars(root):
    train = ["0001C1T0001F001.jpg", "0001C1T0001F002.jpg", "0003C2T0004F001.jpg"]
    test = [
        "00-1C1T0001F001.jpg",
        "0000C1T0001F001.jpg",
        "0002C1T0001F001.jpg",
        "0002C1T0001F002.jpg",
        "0002C4T0002F001.jpg",
    ]
    touch(root, [f"bbox_train/{n[:4]}/{n}" for n in train] + [f"bbox_test/{n[:4]}/{n}" for n in test])
    info = root / "info"
    info.mkdir()
    (info / "train_name.txt").write_text("\n".join(train))
    (info / "test_name.txt").write_text("\n".join(test) + "\n")
    savemat(info / "tracks_train_info.mat", {"track_train_info": np.array([[1, 2, 1, 1], [3, 3, 3, 2]], dtype=float)})
    rows = [[1, 1, -1, 1], [2, 2, 0, 1], [3, 4, 2, 1], [5, 5, 2, 4]]
    savemat(info / "tracks_test_info.mat", {"track_test_info": np.array(rows, dtype=np.int32)})
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([[3]], dtype=np.uint16)})
    return {"train": (3, 2), "gallery": (5, 3)}


def make_lpw(root):
    touch(root, [f"scen1/view{v}/{p}/{f}.jpg" for v in (1, 2, 3) for p in (1, 10, 2) for f in (1, 2)])
    touch(root, ["scen2/view1/1/10.jpg", "scen2/view4/1/9.jpg", "scen3/view1/1/1.jpg"])
    return {"train": (3, 2), "query": (6, 3), "gallery": (12, 3)}


MAKERS = {"sop": make_sop, "cub": make_cub, "cars196": make_cars196, "inshop": make_inshop, "market1501": make_market1501,
          "mars": make_mars, "lpw": make_lpw}  # fmt: skip
TRACKS = {"mars": {"train": 2, "query": 1, "gallery": 4}, "lpw": {"query": 3}}


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
    monkeypatch.setitem(counts.COUNTS, dataset, small)
    monkeypatch.setitem(counts.TRACKLETS, dataset, TRACKS.get(dataset, {}))
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
    with pytest.raises(DatasetError, match="unknown data set 'sopp'; there are sop, cub"):
        read("sopp", ".")


def test_published_counts_agree_with_each_other():
    """Totals printed by the publishers: SOP 120,053; CUB 11,788; Cars 16,185; In-shop 52,712; MARS 1,191,003; LPW 590,547."""
    total = {name: sum(n for n, _ in parts.values() if n) for name, parts in COUNTS.items()}
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
    gallery = market1501.read(tmp_path / "data", check_counts=False)["gallery"]
    assert gallery.labels.tolist() == [-1, 0, 3] and gallery.cameras.tolist() == [2, 3, 1]
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
