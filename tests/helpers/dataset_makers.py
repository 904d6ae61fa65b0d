"""Small copies of the data sets' official layouts, and the archives that their hosts make of them.

Each maker writes one layout below `root`, as the publisher describes it, and returns {split: (images, classes)}.
"""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zipfile
import zlib

import numpy as np
from scipy.io import savemat

from ports import datasets

SOP_TRAIN = "image_id class_id super_class_id path\n1 1 1 bicycle_final/1_0.JPG\n2 1 1 bicycle_final/1_1.JPG\n"
SOP_TEST = "image_id class_id super_class_id path\n3 2 1 bicycle_final/5_0.JPG\n"
SOP_FILES = {
    "Stanford_Online_Products/Ebay_train.txt": SOP_TRAIN.encode(),
    "Stanford_Online_Products/Ebay_test.txt": SOP_TEST.encode(),
    **{f"Stanford_Online_Products/bicycle_final/{n}.JPG": n.encode() * 5000 for n in ("1_0", "1_1", "5_0")},
}


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def crypt_zip(path, name, data, password):
    """A stored member under PKWARE's traditional encryption (APPNOTE 6.1), as DeepFashion's zips are."""
    table = [0] * 256
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ 0xEDB88320 if c & 1 else c >> 1
        table[i] = c
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte):
        keys[0] = (keys[0] >> 8) ^ table[(keys[0] ^ byte) & 255]
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = (keys[2] >> 8) ^ table[(keys[2] ^ (keys[1] >> 24)) & 255]

    for byte in password:
        update(byte)
    crc = zlib.crc32(data)
    out = bytearray()
    for byte in bytes(11) + bytes([crc >> 24]) + data:
        t = (keys[2] | 2) & 0xFFFF
        out.append(byte ^ ((t * (t ^ 1)) >> 8 & 255))
        update(byte)
    # Written as a plain member holding the cipher text, then the headers are told that it is encrypted.
    make_zip(path, {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(name), bytes(out))
    raw = bytearray(path.read_bytes())
    for start, flag, crc_at, size_at in ((raw.index(b"PK\x03\x04"), 6, 14, 22), (raw.index(b"PK\x01\x02"), 8, 16, 24)):
        raw[start + flag] |= 1
        raw[start + crc_at : start + crc_at + 4] = crc.to_bytes(4, "little")
        raw[start + size_at : start + size_at + 4] = len(data).to_bytes(4, "little")
    path.write_bytes(bytes(raw))
    return path


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
    touch(root, [f"gt_bbox/{name}_000001_00.jpg" for name in ("0003_c6s1", "0003_c6s2", "0003_c1s1", "0002_c6s1")])
    return {"train": (2, 1), "query": (1, 1), "gallery": (3, 3), "multi_query": (2, 1)}


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


def make_vehicleid(root):
    """A vehicle of each test list is one of the next larger list, too."""
    lists = {"train_list": [(1, 5), (2, 5), (3, 6)], "test_list_800": [(4, 7)], "test_list_1600": [(4, 7), (5, 7)]}
    lists["test_list_2400"] = [*lists["test_list_1600"], (6, 8)]
    touch(root, [f"image/{image:07}.jpg" for image in range(1, 7)])
    (root / "train_test_split").mkdir()
    for name, rows in lists.items():
        lines = "".join(f"{image:07} {vehicle}\n" for image, vehicle in rows)
        (root / "train_test_split" / f"{name}.txt").write_text(lines)
    return {"train": (3, 2), "test": (3, 2), "test_medium": (2, 1), "test_small": (1, 1)}


MAKERS = {"sop": make_sop, "cub": make_cub, "cars196": make_cars196, "inshop": make_inshop, "market1501": make_market1501,
          "mars": make_mars, "lpw": make_lpw, "vehicleid": make_vehicleid}  # fmt: skip
TRACKS = {"mars": {"train": 2, "query": 1, "gallery": 4}, "lpw": {"query": 3}}


def publish(monkeypatch, dataset, counts, tracklets=None):
    """For this test the published counts of a data set are these, and its tracklets those of the small copy."""
    module = datasets._modules()[dataset]
    tracklets = TRACKS.get(dataset, {}) if tracklets is None else tracklets
    changed = dataclasses.replace(module.DATASET, counts=counts, tracklets=tracklets)
    monkeypatch.setattr(module, "DATASET", changed)
