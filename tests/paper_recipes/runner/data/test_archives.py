"""`prepare`: from archives as the hosts ship them to a verified folder, at the command line.

The archives are small copies of the official layouts (tests/dataset_makers.py), so the published counts are replaced by
the copies' own where a whole way is walked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.dataset_makers import CARS, MAKERS, SOP_FILES, cars_struct, crypt_zip, make_zip, publish, touch
from PIL import Image
from scipy.io import loadmat, savemat

import caffe_compat
from paper_recipes import registry
from paper_recipes.runner.cli import cli
from paper_recipes.runner.data import letter_archives, run_data
from ports import datasets
from ports.datasets import DatasetError, archives, glyphs, read
from ports.datasets.offer import Archive, Offer
from ports.datasets.split import Split


def call(*args: object) -> tuple[int, str]:
    """Exit code 2 with the message for the errors that `main` shows in one line."""
    done = CliRunner().invoke(cli, ["prepare", *map(str, args)], env={"COLUMNS": "150"})
    if isinstance(done.exception, (ValueError, OSError)):
        return 2, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())  # a table's title is broken into lines


def pack(dataset: str, place: Path) -> list[Path]:
    """The files that `prepare DATASET` is given: what its description names, made of the small layout."""
    data = place / "host" / "data"
    MAKERS[dataset](data)
    loose: list[Path] = []
    for name in ("cars_annos.mat", "list_eval_partition.txt"):
        if (data / name).exists():
            loose.append(Path(shutil.move(data / name, place / name)))
    kind = "gztar" if dataset in ("cub", "cars196") else "zip"
    where = data if loose or dataset == "mars" else place / "host"
    if dataset == "mars":  # bbox_train.zip, bbox_test.zip, info.zip
        return [
            Path(shutil.make_archive(str(place / part), kind, data, part))
            for part in ("bbox_train", "bbox_test", "info")
        ]
    return [Path(shutil.make_archive(str(place / "packed"), kind, where)), *loose]


@pytest.fixture
def small_counts(monkeypatch, tmp_path):
    """The published counts are those of the small copies."""
    for dataset, maker in MAKERS.items():
        publish(monkeypatch, dataset, maker(tmp_path / "counts" / dataset))


@pytest.mark.parametrize("dataset", MAKERS)
def test_every_data_set_from_its_archives(dataset, tmp_path, small_counts):
    files = pack(dataset, tmp_path)
    given = [part for file in files for part in ("--archive", file)]
    root = tmp_path / "out"
    code, text = call(dataset, *given, "--root", root)
    assert code == 0 and "as published" in text
    splits = read(dataset, root)
    for part, split in splits.items():
        assert split.fingerprint() in text and f"{part} " in text
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out"]  # nothing half-made is left
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert call(dataset, *given, "--root", root)[0] == 0  # again: only read
    assert call(dataset, "--root", root, "--check")[0] == 0
    assert before == {p: p.stat().st_mtime_ns for p in root.rglob("*")}


def test_cars196_from_its_devkit(tmp_path, small_counts):
    """The other form that Cars196 is shipped in: three archives, and the test annotations with labels as a loose file."""
    host = tmp_path / "host"
    touch(host, ["cars_train/000001.jpg", "cars_train/000003.jpg", "cars_test/000002.jpg", "cars_test/000004.jpg"])
    (host / "devkit").mkdir()
    savemat(host / "devkit" / "cars_train_annos.mat", {"annotations": cars_struct([CARS[0], CARS[2]], "fname")})
    loose = tmp_path / "cars_test_annos_withlabels.mat"
    savemat(loose, {"annotations": cars_struct([CARS[1], CARS[3]], "fname")})
    files = [Path(shutil.make_archive(str(tmp_path / part), "gztar", host, part)) for part in os.listdir(host)]
    given = [part for file in [*files, loose] for part in ("--archive", file)]
    code, text = call("cars196", *given, "--root", tmp_path / "out")
    assert code == 0 and "as published" in text
    train = read("cars196", tmp_path / "out")["train"]
    assert train.paths == ["cars_train/000001.jpg", "cars_test/000002.jpg"] and train.boxes.shape == (2, 4)
    code, text = call("cars196", *given[:-2], "--root", tmp_path / "without")
    assert code == 2 and "cars_test_annos_withlabels.mat" in text


@pytest.mark.parametrize("dataset", ["cub", "inshop", "market1501", "mars"])
def test_mat_lists_are_read_back_the_same(dataset, tmp_path, small_counts):
    given = [part for file in pack(dataset, tmp_path) for part in ("--archive", file)]
    root = tmp_path / "out"
    code, text = call(dataset, *given, "--root", root, "--mat")
    assert code == 0
    for part, split in read(dataset, root).items():
        assert f"wrote {root / part}.mat" in text
        again = caffe_compat.load_split(root / f"{part}.mat", image_root=split.root)
        assert again.paths == split.paths and np.array_equal(again.labels, split.labels)
        assert [k for k in loadmat(root / f"{part}.mat") if not k.startswith("__")]
    assert call(dataset, "--root", root, "--check")[0] == 0  # lists of ours do not disturb the check


def test_inshops_password(tmp_path, small_counts, monkeypatch):
    """The host's zip is encrypted: asked for in words, refused when wrong, and only the right one goes through."""
    picture = b"a picture" * 20
    archive = crypt_zip(tmp_path / "img.zip", "img/WOMEN/id_00000001/01_1_front.jpg", picture, b"open sesame")
    listing = tmp_path / "list_eval_partition.txt"
    listing.write_text(
        "1\nimage_name item_id evaluation_status\nimg/WOMEN/id_00000001/01_1_front.jpg id_00000001 train\n"
    )
    publish(monkeypatch, "inshop", {"train": (1, 1), "query": (0, 0), "gallery": (0, 0)})
    given = ["inshop", "--archive", archive, "--archive", listing, "--root", tmp_path / "shop"]
    code, text = call(*given)
    assert code == 2 and "protected by a password, as DeepFashion's are" in text
    code, text = call(*given, "--password", "guess")
    assert code == 2 and ("Bad password" in text or "damaged" in text)
    assert not (tmp_path / "shop").exists()
    assert call(*given, "--password", "open sesame")[0] == 0
    assert (tmp_path / "shop" / "img/WOMEN/id_00000001/01_1_front.jpg").read_bytes() == picture


def test_the_wrong_archive_is_named_and_nothing_is_left_in_place(tmp_path, small_counts):
    (sop,) = pack("sop", tmp_path)
    code, text = call("cub", "--archive", sop, "--root", tmp_path / "cub")
    assert code == 2 and "not CUB-200-2011: images.txt" in text and "cub comes as CUB_200_2011.tgz" in text
    assert not (tmp_path / "cub").exists()
    code, text = call("sop", "--archive", tmp_path / "no.zip", "--root", tmp_path / "sop")
    assert code == 2 and "archive not found; sop comes as Stanford_Online_Products.zip" in text
    (tmp_path / "page.zip").write_text("<html>404 not found</html>")
    code, text = call("sop", "--archive", tmp_path / "page.zip", "--root", tmp_path / "sop")
    assert code == 2 and "page.zip: truncated or damaged" in text
    assert not list(tmp_path.glob("sop*"))
    code, text = call("mnist", "--root", tmp_path)
    assert code == 2 and "unknown data set 'mnist'; there are cars196, cub" in text
    code, text = call("sop", "--root", tmp_path / "nowhere", "--check")
    assert code == 2 and "does not exist" in text


def test_missing_images_are_counted_and_named(tmp_path, small_counts):
    MAKERS["sop"](tmp_path / "data")
    (tmp_path / "data" / "chair_final" / "9_0.JPG").unlink()
    code, text = call("sop", "--root", tmp_path / "data", "--check")
    assert code == 2 and "sop/train: 1 of 3 images are missing" in text and "9_0.JPG" in text


def test_counts_of_a_part_are_not_the_published_ones(tmp_path):
    (archive,) = pack("sop", tmp_path)
    code, text = call("sop", "--archive", archive, "--root", tmp_path / "out")
    assert code == 2 and "train has 3 images instead of 59,551" in text
    assert not (tmp_path / "out").exists() and (tmp_path / "out.partial").exists()


def test_a_changed_list_is_seen(tmp_path, small_counts):
    (archive,) = pack("sop", tmp_path)
    root = tmp_path / "out"
    assert call("sop", "--archive", archive, "--root", root)[0] == 0
    listing = next(root.rglob("Ebay_test.txt"))
    text = listing.read_text()
    listing.write_text(text.replace("4 3 1 bicycle_final/5_0.JPG", "4 3 1 bicycle_final/5_1.JPG"))
    code, message = call("sop", "--root", root, "--check")
    assert code == 2 and "when prepared and is" in message


def test_killed_and_called_again(tmp_path):
    """kill -9 in the middle of unpacking, then the same call: the files that were there are not written again."""
    noise = np.random.default_rng(0).integers(0, 256, 400_000, dtype=np.uint8).tobytes()
    names = [f"Stanford_Online_Products/bicycle_final/1_{i}.JPG" for i in range(150)]
    files = {**dict.fromkeys(names, noise), **{k: v for k, v in SOP_FILES.items() if k.endswith(".txt")}}
    rows = "\n".join(f"{i + 1} 1 1 bicycle_final/1_{i}.JPG" for i in range(150))
    files["Stanford_Online_Products/Ebay_train.txt"] = f"image_id class_id super_class_id path\n{rows}\n".encode()
    files["Stanford_Online_Products/Ebay_test.txt"] = f"image_id class_id super_class_id path\n{rows}\n".encode()
    archive = make_zip(tmp_path / "sop.zip", files)
    code = (
        "import sys; from ports.datasets import archives\n"
        "archives.prepare('sop', [sys.argv[1]], sys.argv[2], progress=False, check_counts=False)"
    )
    root, work = tmp_path / "sop", tmp_path / "sop.partial"
    process = subprocess.Popen([sys.executable, "-c", code, str(archive), str(root)])
    deadline = time.monotonic() + 60
    while sum(1 for _ in work.rglob("*.JPG")) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = {p.name: p.stat().st_mtime_ns for p in work.rglob("*.JPG")}
    assert 5 <= len(there) < 150 and not root.exists(), "the kill came too late for this machine: enlarge the archive"
    whole = {n: t for n, t in there.items() if next(work.rglob(n)).stat().st_size == len(noise)}
    splits = archives.prepare("sop", [archive], root, progress=False, check_counts=False)
    assert len(splits["train"]) == 150 and not work.exists()
    for path in root.rglob("*.JPG"):
        assert path.stat().st_size == len(noise)
        assert path.name not in whole or path.stat().st_mtime_ns == whole[path.name]


# Letters as archives


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A stand-in for the letters, quickly drawn: 110 training and 45 test classes of three small pictures each."""
    root = tmp_path_factory.mktemp("letters")
    splits, first = {}, 1
    for part, classes in (("train", 110), ("test", 45)):
        paths, labels = [], []
        for label in range(first, first + classes):
            for i in range(3):
                path = f"Latin_final/{label:04x}_face{i}.png"
                (root / path).parent.mkdir(exist_ok=True)
                picture = np.full((24, 20), 255, np.uint8)
                picture[4 + i : 20, 5 : 12 + label % 5] = label % 200
                Image.fromarray(picture).save(root / path)
                paths.append(path)
                labels.append(label)
        first += classes
        splits[part] = Split(paths, np.array(labels), f"glyphs/{part}", root, super_labels=np.ones(len(paths), int))
    return splits


@pytest.fixture
def packed(letters, tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "build", lambda root: letters)
    monkeypatch.setenv("DML_PORTS_CACHE", str(tmp_path / "cache"))

    def make(dataset):
        code, text = call(dataset, "--embedded", "--root", tmp_path / "packed")
        assert code == 0, text
        return text.split("next: ")[1].split()

    return make


@pytest.mark.parametrize("dataset", ["sop", "cub", "inshop"])
def test_letters_are_packed_and_prepared(dataset, packed, tmp_path):
    command = packed(dataset)
    assert command[:5] == ["python", "-m", "paper_recipes", "prepare", dataset]
    root = tmp_path / "out"
    code, text = call(dataset, *command[5:-1], root)  # the command that was printed, with a root of ours
    assert code == 0 and "letters, not the data set" in text and "as published" not in text
    splits = read(dataset, root, check_counts=False)
    assert (len(splits["train"]), splits["train"].num_classes) == (300, 100)
    tests = [split for part, split in splits.items() if part != "train"]
    assert sum(map(len, tests)) == 120 and all(split.num_classes == 40 for split in tests)
    with Image.open(splits["train"].file(0)) as picture:
        assert picture.size == (20, 24)
    assert call(dataset, "--root", root, "--check")[0] == 0
    marker = letter_archives.marker_of(root)
    record = json.loads(marker.read_text())
    record["splits"]["train"] = [301, 100]
    marker.write_text(json.dumps(record))
    code, text = call(dataset, "--root", root, "--check")
    assert code == 2 and "[300, 100]" in text and "[301, 100]" in text
    with pytest.raises(DatasetError, match="instead of"):  # nobody else takes them for the data set
        read(dataset, root)


def test_the_boxes_of_letters_hold_the_ink(packed, tmp_path):
    command = packed("cub")
    assert call("cub", *command[5:-1], tmp_path / "out")[0] == 0
    split = read("cub", tmp_path / "out", check_counts=False)["train"]
    assert split.boxes[0].tolist() == [6, 5, 7, 15]  # x, y from 1; to x + 7 and y + 15, both ends ink: label 1, face 0


def test_the_same_archive_every_time(packed, tmp_path):
    packed("sop")
    archive = tmp_path / "packed" / "Stanford_Online_Products.zip"
    first = hashlib.sha256(archive.read_bytes()).hexdigest()
    packed("sop")
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == first
    assert zipfile.ZipFile(archive).testzip() is None


def test_letters_are_never_the_data_set(packed, tmp_path):
    """A recipe run on them is an own run: it wants no ImageNet weights and is held to nothing."""
    command = packed("sop")
    assert call("sop", *command[5:-1], tmp_path / "SOP")[0] == 0
    assert run_data.may_be_own(tmp_path / "SOP")
    data = run_data.open_folder(registry.get("rll-sop"), tmp_path / "SOP")
    assert data.own and data.description["name"] == "letters as sop"


def test_wrong_calls_of_embedded(packed, tmp_path):
    code, text = call("mars", "--embedded", "--root", tmp_path / "x")
    assert code == 2 and "letters come in the layouts of cub, inshop, sop" in text
    code, text = call("sop", "--embedded", "--root", tmp_path / "x", "--archive", "a.zip")
    assert code == 2 and "--embedded only writes archives" in text
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("dataset", datasets.names())
def test_without_an_archive_it_says_what_to_get(dataset, tmp_path):
    about = datasets.describe(dataset)
    code, text = call(dataset)
    assert code == 0 and about.title in text and " ".join(about.archives.split()) in text
    for line in about.offer.lines():
        assert " ".join(line.split()) in text
    assert ("--download" in text) == about.offer.free
    for root in (tmp_path / "nowhere", tmp_path):  # not there, empty
        code, text = call(dataset, "--root", root)
        assert code == 2 and text == f"{root}: nothing is there yet, and no archive was given"
    assert not any(tmp_path.iterdir())


def test_a_download_is_prepared_and_asked_for_once(tmp_path, monkeypatch, small_counts):
    """From a server on the loopback to the verified folder."""
    (archive,) = pack("sop", tmp_path)
    asked = []

    class Host(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(archive.stat().st_size))
            self.end_headers()
            self.wfile.write(archive.read_bytes())

        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "SOP"
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/host/Stanford_Online_Products.zip"
        size = archive.stat().st_size
        offer = Offer("a page", (Archive("Stanford_Online_Products.zip", url, size, md5_of(archive)),))
        module = datasets._modules()["sop"]
        monkeypatch.setattr(module, "DATASET", dataclasses.replace(module.DATASET, offer=offer))
        for _ in range(2):  # again: only read
            code, text = call("sop", "--download", "--root", root)
            assert code == 0 and "as published" in text
        assert call("sop", "--root", root, "--check")[0] == 0
        server.shutdown()
        thread.join()
    assert asked == ["/host/Stanford_Online_Products.zip"]
    assert [path.name for path in (tmp_path / "SOP.archives").iterdir()] == ["Stanford_Online_Products.zip"]


def md5_of(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_download_that_cannot_be(tmp_path):
    code, text = call("inshop", "--download", "--root", tmp_path / "shop")
    assert (
        code == 2
        and "img.zip, list_eval_partition.txt of inshop is not freely offered; its page: https://mmlab" in text
    )
    code, text = call("sop", "--download")
    assert code == 2 and "--root says where the data set's folder is, or is to be" in text
    code, text = call("sop", "--download", "--archive", "a.zip", "--root", tmp_path / "sop")
    assert code == 2 and "leave --archive, --check and --embedded out" in text
    assert not any(tmp_path.iterdir())
