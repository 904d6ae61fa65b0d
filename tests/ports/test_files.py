"""`ports.files.atomic_path`: whole or absent, whatever happens in between."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from ports.files import atomic_path, sweep


def test_the_file_is_there_only_when_the_block_has_ended(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists() and temporary.parent == tmp_path
    assert target.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_others_may_read_it_as_any_new_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_folders_are_made_on_demand_only(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b: there is no folder .*/a"), atomic_path(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with atomic_path(tmp_path / "a" / "b", parents=True) as temporary:
        temporary.write_text("")
    assert (tmp_path / "a" / "b").exists()


def test_a_full_disk_is_told_of_the_file_that_was_wanted(tmp_path):
    with (
        pytest.raises(OSError, match=r"cannot write .*/a\.txt: No space left") as caught,
        atomic_path(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.errno == errno.ENOSPC and not os.listdir(tmp_path)


def test_an_error_of_another_file_stays_its_own(tmp_path):
    with pytest.raises(FileNotFoundError, match="source") as caught, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "source").read_bytes()
    assert "cannot write" not in str(caught.value)


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    target = tmp_path / ("é" * 120)
    with atomic_path(target) as temporary:
        temporary.write_text("")
    assert target.exists()


def test_what_a_killed_process_left_is_swept_away_and_nothing_else(tmp_path):
    with atomic_path(tmp_path / "a.json") as temporary:
        left = tmp_path / temporary.name
        temporary.write_text("whole")
    left.write_text("half")
    (tmp_path / ".tmpesCH9N").write_text("what safetensors was writing to for itself")
    for name in (".hidden", "b.partial", ".0123456789.partial", ".tmp_notes"):
        (tmp_path / name).write_text("")
    sweep(tmp_path, tmp_path / "none")
    assert sorted(os.listdir(tmp_path)) == [".0123456789.partial", ".hidden", ".tmp_notes", "a.json", "b.partial"]
