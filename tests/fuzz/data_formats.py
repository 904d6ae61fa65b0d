"""Lists, annotations, archives and pictures of data sets."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, features
from scipy.io import savemat

from ports import datasets
from ports.datasets import custom
from ports.datasets.extract import extract
from ports.datasets.split import DatasetError
from ports.images.decoding import ImageError, decode
from tests.fuzz.format import Format

_ERRORS = (DatasetError,)


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture")


def _reader(dataset: str, up: int = 1) -> Callable[[Path], object]:
    return lambda path: datasets.read(dataset, path.parents[up - 1], check_counts=False)


def _cars(folder: Path) -> list[bytes]:
    _touch(folder, "car_ims/1.jpg", "car_ims/2.jpg")
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")
    rows = [(f"car_ims/{i}.jpg", 30, 52, 246, 147, c) for i, c in ((1, 1), (2, 150))]
    table = np.array(rows, dtype=[(f, object) for f in fields])
    contents = []
    for packed in (False, True):
        names = np.array([f"Car {i}" for i in range(1, 197)], dtype=object)
        savemat(folder / "seed.mat", {"annotations": table, "class_names": names}, do_compression=packed)
        contents.append((folder / "seed.mat").read_bytes())
    (folder / "seed.mat").unlink()
    return contents


def _mars(folder: Path) -> list[bytes]:
    train, test = ["0001C1T0001F001.jpg", "0003C2T0004F001.jpg"], ["0002C1T0001F001.jpg", "0002C4T0002F001.jpg"]
    _touch(folder, *(f"bbox_train/{n[:4]}/{n}" for n in train), *(f"bbox_test/{n[:4]}/{n}" for n in test))
    info = folder / "info"
    info.mkdir()
    (info / "train_name.txt").write_text("\n".join(train))
    (info / "test_name.txt").write_text("\n".join(test))
    savemat(info / "tracks_train_info.mat", {"track_train_info": np.array([[1, 1, 1, 1], [2, 2, 3, 2]], float)})
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([[1]], np.uint16)})
    savemat(info / "tracks_test_info.mat", {"track_test_info": np.array([[1, 1, 2, 1], [2, 2, 2, 4]], np.int32)})
    return [(info / "tracks_test_info.mat").read_bytes()]


def _sop(folder: Path) -> list[bytes]:
    names = [f"bicycle_final/{n}.JPG" for n in ("1_0", "1_1", "5_0")]
    _touch(folder, *names)
    head = "image_id class_id super_class_id path\n"
    (folder / "Ebay_test.txt").write_text(f"{head}3 2 1 {names[2]}\n")
    return [f"{head}1 1 1 {names[0]}\n2 1 1 {names[1]}\n".encode()]


def _cub(folder: Path) -> list[bytes]:
    paths = [f"{c:03d}.Bird/{i}.jpg" for c in (1, 100, 101) for i in (1, 2)]
    _touch(folder, *(f"images/{p}" for p in paths))
    (folder / "image_class_labels.txt").write_text("".join(f"{i} {int(p[:3])}\n" for i, p in enumerate(paths, 1)))
    (folder / "classes.txt").write_text("".join(f"{c} {c:03d}.Bird\n" for c in (1, 100, 101)))
    (folder / "bounding_boxes.txt").write_text("".join(f"{i} 60.0 27.0 325.0 304.0\n" for i in range(1, 7)))
    return ["".join(f"{i} {p}\n" for i, p in enumerate(paths, 1)).encode()]


def _cub_boxes(folder: Path) -> list[bytes]:
    (folder / "images.txt").write_bytes(_cub(folder)[0])
    return [(folder / "bounding_boxes.txt").read_bytes()]


def _inshop(folder: Path) -> list[bytes]:
    rows = [(f"img/W/id_{i:08d}/{j}.jpg", i, s) for i, j, s in ((2, 1, "train"), (7, 1, "query"), (7, 2, "gallery"))]
    _touch(folder, *(row[0] for row in rows))
    lines = "".join(f"{p}   id_{i:08d}  {s}\n" for p, i, s in rows)
    return [f"3\nimage_name item_id evaluation_status\n{lines}".encode()]


def _vehicleid(folder: Path) -> list[bytes]:
    _touch(folder, *(f"image/{i:07}.jpg" for i in range(1, 5)))
    (folder / "train_test_split").mkdir()
    for test in (800, 1600, 2400):
        (folder / "train_test_split" / f"test_list_{test}.txt").write_text("0000003 7\n0000004 8\n")
    return [b"0000001 5\n0000002 6\n"]


_CSV = "path,label,split,super_label,camera,track,x,y,width,height\n" + "".join(
    f"images/{i}.jpg,bird {i % 2},{('train', 'test')[i % 2]},1,2,{i},0.5,1,20,30\n" for i in range(6)
)
_LIST = "".join(f"images/{i} a.jpg,{i % 3}\n" for i in range(6))
_MEMBERS = {"a/1.jpg": b"1" * 3000, "a/b/2.jpg": bytes(range(256)) * 9, "list.txt": b"a/1.jpg 1\n"}


def _zip(folder: Path) -> list[bytes]:
    contents = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in _MEMBERS.items():
                archive.writestr(zipfile.ZipInfo(name), data, kind)
        contents.append(buffer.getvalue())
    return contents


def _tar(mode: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            for name, data in _MEMBERS.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return [buffer.getvalue()]

    return make


def _unpack(path: Path) -> None:
    target = path.parent / "unpacked"
    shutil.rmtree(target, ignore_errors=True)
    try:
        extract(path, target, progress=False)
    finally:
        outside = {p.name for p in path.parent.iterdir()} - {path.name, "unpacked"}
        assert not outside, f"written outside the folder: {outside}"


def _picture(kind: str, **options: object) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        pixels = (np.arange(24 * 32 * 3) % 251).astype(np.uint8).reshape(24, 32, 3)
        contents = []
        for picture in (Image.fromarray(pixels), Image.fromarray(pixels[..., 0]).convert("RGB")):
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options)
            contents.append(buffer.getvalue())
        return contents

    return make


_PICTURES = ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", *(["AVIF"] if features.check("avif") else [])]

DATA = [
    Format("cars-mat", "cars_annos.mat", _cars, _reader("cars196"), _ERRORS),
    Format("mars-mat", "info/tracks_test_info.mat", _mars, _reader("mars", 2), _ERRORS),
    Format("sop", "Ebay_train.txt", _sop, _reader("sop"), _ERRORS),
    Format("cub", "images.txt", _cub, _reader("cub"), _ERRORS),
    Format("cub-boxes", "bounding_boxes.txt", _cub_boxes, _reader("cub"), _ERRORS),
    Format("inshop", "list_eval_partition.txt", _inshop, _reader("inshop"), _ERRORS),
    Format("vehicleid", "train_test_split/train_list.txt", _vehicleid, _reader("vehicleid", 2), _ERRORS),
    Format("csv", "x.csv", lambda folder: [_CSV.encode()], custom.read_csv, _ERRORS),
    Format("list", "x.txt", lambda folder: [_LIST.encode()], custom.read_list, _ERRORS),
    Format("zip", "x.zip", _zip, _unpack, _ERRORS),
    Format("tar", "x.tar", _tar("w"), _unpack, _ERRORS),
    Format("tgz", "x.tgz", _tar("w:gz"), _unpack, _ERRORS),
    *(Format(f"picture-{k.lower()}", f"x.{k.lower()}", _picture(k), decode, (ImageError,)) for k in _PICTURES),
]
