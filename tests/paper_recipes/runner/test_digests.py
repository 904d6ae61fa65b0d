"""sha256 of many files: read once, remembered as long as size and times say that nothing happened."""

from __future__ import annotations

import hashlib
import os

import pytest

from paper_recipes.runner import digests


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_YOUNG", -1.0)  # what was just written is remembered, too
    paths = [tmp_path / f"{i}.bin" for i in range(7)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * (100 + i))
    return paths


def read(monkeypatch):
    """Which files are read from now on."""
    seen = []
    real = digests.of_file
    monkeypatch.setattr(digests, "of_file", lambda file: (seen.append(os.path.basename(file)), real(file))[1])
    return seen


def expected(paths):
    return [hashlib.sha256(path.read_bytes()).digest() for path in paths]


def test_each_file_is_read_once_even_if_named_twice(files, tmp_path, monkeypatch):
    seen = read(monkeypatch)
    memory = tmp_path / "deep" / "sha256.sqlite"
    assert digests.of_files([*files, files[0]], memory) == expected([*files, files[0]])
    assert sorted(seen) == sorted(path.name for path in files)
    assert digests.of_files(files, memory) == expected(files) and len(seen) == len(files)
    assert digests.of_files(files, None) == expected(files) and len(seen) == 2 * len(files)


def test_another_size_or_time_is_read_again(files, tmp_path, monkeypatch):
    memory = tmp_path / "sha256.sqlite"
    digests.of_files(files, memory)
    seen = read(monkeypatch)
    files[1].write_bytes(b"longer " * 50)
    times = os.stat(files[2])
    files[2].write_bytes(b"x" * times.st_size)
    os.utime(files[2], ns=(times.st_atime_ns, times.st_mtime_ns))  # size and time of the content set back
    assert digests.of_files(files, memory) == expected(files)
    assert sorted(seen) == ["1.bin", "2.bin"]


def test_a_file_of_just_now_is_not_remembered(files, tmp_path, monkeypatch):
    """It may be written again within the clock tick of its file system."""
    monkeypatch.setattr(digests, "_YOUNG", 3600.0)
    memory = tmp_path / "sha256.sqlite"
    digests.of_files(files, memory)
    seen = read(monkeypatch)
    digests.of_files(files, memory)
    assert len(seen) == len(files)


@pytest.mark.parametrize("content", [b"not a database", b""])
def test_a_memory_that_is_none_costs_time_only(files, tmp_path, content):
    memory = tmp_path / "sha256.sqlite"
    memory.write_bytes(content)
    assert digests.of_files(files, memory) == expected(files)
    assert digests.of_files(files, tmp_path / files[0].name / "below a file") == expected(files)


def test_odd_names(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_YOUNG", -1.0)
    names = [b"caf\xe9.png", "ﬁ'\n\";--.png".encode()]
    paths = [os.path.join(str(tmp_path), os.fsdecode(name)) for name in names]
    for path in paths:
        with open(path, "wb") as file:
            file.write(b"x")
    for _ in range(2):
        assert digests.of_files(paths, tmp_path / "m.sqlite") == [hashlib.sha256(b"x").digest()] * 2


def test_a_missing_file_is_named(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.bin"):
        digests.of_files([*files, tmp_path / "gone.bin"], None)
