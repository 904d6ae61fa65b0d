"""From archive to verified folder: every archive form the hosts use, made here from the small layouts."""

import json
import re
import shutil
import sys
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.dataset_makers import SOP_FILES, SOP_TEST, crypt_zip, make_tar, make_zip

from ports import datasets, progress
from ports.datasets import DatasetError, archives, extract
from ports.datasets.archives import check, prepare


@pytest.mark.parametrize(("make", "name"), [(make_zip, "sop.zip"), (make_tar, "sop.tgz")])
def test_prepare(make, name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    archive = make(tmp_path / name, {**SOP_FILES, "__MACOSX/._x": b"junk"})
    splits = prepare("sop", [archive], tmp_path / "data" / "sop", check_counts=False)
    assert len(splits["train"]) == 2 and Path(splits["train"].file(1)).read_bytes() == b"1_1" * 5000
    if make is make_zip:  # so small a .tgz is read whole before its first member: it has come to its end at once
        assert name in capsys.readouterr().err  # how far it has come
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["sop"]
    record = json.loads((tmp_path / "data" / "sop" / "prepared.json").read_text())
    assert record["splits"]["train"]["list_sha256"] == splits["train"].fingerprint()
    assert not (tmp_path / "data" / "sop" / "__MACOSX").exists()
    again = prepare("sop", [archive], tmp_path / "data" / "sop", check_counts=False)
    assert again == splits == check("sop", tmp_path / "data" / "sop", check_counts=False)


def test_published_counts_are_wanted(tmp_path):
    archive = make_zip(tmp_path / "sop.zip", SOP_FILES)
    with pytest.raises(DatasetError, match=r"train has 2 images instead of 59,551.*unpacked in .*sop.partial"):
        prepare("sop", [archive], tmp_path / "sop", progress=False)
    assert not (tmp_path / "sop").exists()


def test_interrupted_and_resumed(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "sop.zip", SOP_FILES)
    real, written = extract._write, []

    def write(target, reader, size, damage):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(target.name)
        real(target, reader, size, damage)

    monkeypatch.setattr(extract, "_write", write)
    with pytest.raises(KeyboardInterrupt):
        prepare("sop", [archive], tmp_path / "sop", progress=False, check_counts=False)
    assert not (tmp_path / "sop").exists() and (tmp_path / "sop.partial").exists()
    before = list(written)
    monkeypatch.setattr(extract, "_write", lambda t, *more: (written.append(t.name), real(t, *more)))
    prepare("sop", [archive], tmp_path / "sop", progress=False, check_counts=False)
    assert len(before) == 3 and not set(written[3:]) & set(before) and len(written) == len(SOP_FILES)
    assert not (tmp_path / "sop.partial").exists()


def test_two_calls_at_once(tmp_path, monkeypatch):
    """One unpacks, the other waits and reads what came of it."""
    archive = make_zip(tmp_path / "SOP.zip", SOP_FILES)
    unpacking = []

    def slowly(*args, **options):
        unpacking.append(args)
        time.sleep(0.3)
        return extract.extract(*args, **options)

    monkeypatch.setattr(archives, "extract", slowly)
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(prepare, "sop", [archive], tmp_path / "sop", progress=False, check_counts=False)
            for _ in range(2)
        ]
        assert calls[0].result() == calls[1].result()
    assert len(unpacking) == 1 and sorted(path.name for path in tmp_path.iterdir()) == ["SOP.zip", "sop"]


def test_a_half_written_file_is_not_taken_for_whole(tmp_path):
    archive = make_zip(tmp_path / "sop.zip", SOP_FILES)
    victim = tmp_path / "sop.partial" / "Stanford_Online_Products" / "bicycle_final" / "1_0.JPG"
    victim.parent.mkdir(parents=True)
    victim.write_bytes(b"1_0")
    prepare("sop", [archive], tmp_path / "sop", progress=False, check_counts=False)
    assert (tmp_path / "sop" / victim.relative_to(tmp_path / "sop.partial")).read_bytes() == b"1_0" * 5000


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "C:/evil.txt", "..\\evil.txt"])
def test_nothing_is_written_outside(make, name, tmp_path):
    inside = tmp_path / "inside"
    archive = make(tmp_path / ("a.zip" if make is make_zip else "a.tgz"), {name: b"x"})
    with pytest.raises(DatasetError, match="would be written outside"):
        extract.extract(archive, inside, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name, "inside"] and not any(inside.iterdir())


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(info)
    with pytest.raises(DatasetError, match="'link' is a link or device"):
        extract.extract(tmp_path / "a.tar", tmp_path / "out", progress=False)
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    make_zip(tmp_path / "b.zip", {info: b"/etc"})
    with pytest.raises(DatasetError, match="'link' is a link"):
        extract.extract(tmp_path / "b.zip", tmp_path / "out", progress=False)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tgz")])
def test_truncated_archives(make, name, share, tmp_path):
    import random

    noise = random.Random(0).randbytes(200_000)
    archive = make(tmp_path / name, {"one.bin": noise, "two.bin": noise[::-1]})
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DatasetError, match="truncated or damaged"):
        extract.extract(archive, tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").glob("*.partial"))
    for path in (tmp_path / "out").iterdir():
        assert path.stat().st_size == 200_000


def test_damaged_member_is_named(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"good.txt": b"g" * 50, "bad.txt": b"b" * 50})
    data = bytearray(archive.read_bytes())
    at = data.index(b"bad.txt") + len("bad.txt") + 1
    data[at] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(DatasetError, match=r"a.zip: truncated or damaged at bad.txt"):
        extract.extract(archive, tmp_path / "out", progress=False)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.txt"]


def test_password(tmp_path, monkeypatch):
    archive = crypt_zip(tmp_path / "img.zip", "img/a/id_00000001/1.jpg", b"picture" * 10, b"open sesame")
    listing = tmp_path / "list_eval_partition.txt"
    listing.write_text("1\nimage_name item_id evaluation_status\nimg/a/id_00000001/1.jpg id_00000001 train\n")
    files = [archive, listing]
    with pytest.raises(DatasetError, match="protected by a password, as DeepFashion's are"):
        prepare("inshop", files, tmp_path / "shop", progress=False, check_counts=False)
    with pytest.raises(DatasetError, match=r"Bad password|damaged at img/a"):
        prepare("inshop", files, tmp_path / "shop", progress=False, check_counts=False, password="guess")
    splits = prepare("inshop", files, tmp_path / "shop", progress=False, check_counts=False, password="open sesame")
    assert Path(splits["train"].file(0)).read_bytes() == b"picture" * 10


def test_check_sees_a_changed_list(tmp_path):
    prepare("sop", [make_zip(tmp_path / "a.zip", SOP_FILES)], tmp_path / "sop", progress=False, check_counts=False)
    listing = tmp_path / "sop" / "Stanford_Online_Products" / "Ebay_test.txt"
    listing.write_text(SOP_TEST.replace("3 2 1", "3 4 1"))
    with pytest.raises(DatasetError, match=r"test was .* when prepared and is"):
        check("sop", tmp_path / "sop", check_counts=False)
    with pytest.raises(DatasetError, match="unknown data set 'mnist'"):
        prepare("mnist", [], tmp_path / "x")


def test_wrong_calls(tmp_path):
    with pytest.raises(DatasetError, match=r"no archive given; wanted: CUB_200_2011.tgz"):
        prepare("cub", [], tmp_path / "x")
    with pytest.raises(DatasetError, match=r"none.tgz: archive not found; cub comes as CUB_200_2011.tgz"):
        prepare("cub", [tmp_path / "none.tgz"], tmp_path / "x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DatasetError, match="already holds something"):
        prepare("cub", [tmp_path / "none.tgz"], tmp_path / "mine")
    (tmp_path / "fake.zip").write_bytes(b"<html>404</html>")
    with pytest.raises(DatasetError, match=r"fake.zip: truncated or damaged at its start"):
        prepare("sop", [tmp_path / "fake.zip"], tmp_path / "x", progress=False)


def test_full_disk_is_said_before_unpacking(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", SOP_FILES)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(extract.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match=r"needs .* GB unpacked"):
        extract.extract(archive, tmp_path / "out", progress=False)


def test_each_data_set_is_described_in_its_own_file():
    """A file with a DATASET is found by being there; names, titles and folder patterns do not collide."""
    about = [datasets.describe(name) for name in datasets.names()]
    assert [d.name for d in about] == ["cars196", "cub", "inshop", "lpw", "market1501", "mars", "sop", "vehicleid"]
    assert len({d.title for d in about}) == len(about)
    for one in about:
        assert one.archives and one.counts and one.read.__module__.startswith("ports.datasets.")
        assert set(one.tracklets) <= {"train", "query", "gallery"} and (one.cameras or not one.tracklets)
        assert not re.fullmatch(one.folders, "my_pictures")


def test_a_new_data_set_is_one_new_file(tmp_path, monkeypatch):
    """Beside the package's own files: what the folder holds is what there is."""
    lines = ["from ports.datasets import sop", "from ports.datasets.description import Dataset", ""]
    lines.append("DATASET = Dataset('birds', 'Birds', sop.read, {'train': (1, 1)}, 'birds.zip', 'birds')")
    (tmp_path / "birds.py").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])
    datasets._modules.cache_clear()
    try:
        assert datasets.describe("birds").title == "Birds" and "birds" in datasets.names()
    finally:
        datasets._modules.cache_clear()
        sys.modules.pop("ports.datasets.birds", None)
