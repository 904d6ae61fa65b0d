"""Split: its checks, its files, its identity."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ports.datasets import DatasetError, Split


def make(n=6, **extra):
    return Split([f"d{i % 2}/{i}.png" for i in range(n)], np.arange(n) // 2 + 5, "toy", **extra)


def test_basics(tmp_path):
    split = make(root=tmp_path, boxes=np.ones((6, 4)), class_names=["five", "six", "seven"])
    assert len(split) == 6 and split.num_classes == 3 and split.labels.dtype == np.int64
    assert split.files()[0] == str(tmp_path / "d0" / "0.png")
    assert split.contiguous().tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.name = "other"


def test_subset_takes_everything_along():
    split = make(cameras=np.arange(6), tracks=np.arange(6), super_labels=[1] * 6, class_names=["five", "six", "seven"])
    part = split.subset([4, 0], "part")
    assert part.paths == ["d0/4.png", "d0/0.png"] and part.labels.tolist() == [7, 5] and part.cameras.tolist() == [4, 0]
    assert part.class_names == ["five", "seven"] and part.name == "part"
    assert split.subset(split.labels == 6) == split.subset([2, 3])
    with pytest.raises(DatasetError, match=r"mask of shape \(2,\) for 6 items"):
        split.subset(np.array([True, False]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1, 2]}, r"6 paths but labels of shape \(2,\)"),
        ({"labels": [0.5] * 6}, "labels must be whole numbers"),
        ({"labels": None}, "labels are missing"),
        ({"boxes": np.ones((6, 3))}, r"boxes of shape \(6, 3\)"),
        ({"class_names": ["a"]}, "3 classes but 1 class names"),
    ],
)
def test_bad_fields(change, message):
    with pytest.raises(DatasetError, match=message):
        dataclasses.replace(make(), **change)


def test_matlab_doubles_become_int64():
    assert Split(["a"], np.array([3.0])).labels.dtype == np.int64


def test_missing_files(tmp_path):
    split = make(root=tmp_path)
    (tmp_path / "d0").mkdir()
    (tmp_path / "d0" / "0.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"toy: 5 of 6 images are missing: .*1.png, .*2.png, .*3.png, ..."):
        split.check_files()
    for path in split.files():
        (tmp_path / "d1").mkdir(exist_ok=True)
        open(path, "wb").close()
    split.check_files()


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(-5, 5)), max_size=8))
def test_fingerprint_tells_lists_apart(items):
    split = Split([p for p, _ in items], [label for _, label in items])
    assert split.fingerprint() == Split(split.paths, split.labels, "other name", "/root").fingerprint()
    other = Split([*split.paths, "x"], [*split.labels, 1])
    assert other.fingerprint() != split.fingerprint()
    if items:
        changed = split.labels.copy()
        changed[0] += 1
        assert Split(split.paths, changed).fingerprint() != split.fingerprint()
        assert dataclasses.replace(split, cameras=split.labels).fingerprint() != split.fingerprint()
