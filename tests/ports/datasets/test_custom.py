"""A user's own pictures: class folders, CSV tables, plain lists."""

import numpy as np
import pytest

from ports.datasets import DatasetError, custom, folder


def touch(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"picture")


def test_folder_per_class(tmp_path):
    touch(tmp_path, ["apple/1.jpg", "apple/deep/2.PNG", "pear/1.jpg", "fig/1.webp", "fig/notes.txt", ".cache/x/1.jpg"])
    splits = folder.read(tmp_path)
    assert splits["train"].class_names == ["apple", "fig"] and splits["train"].labels.tolist() == [1, 1, 2]
    assert splits["test"].paths == ["pear/1.jpg"] and splits["test"].labels.tolist() == [3]
    for split in splits.values():
        split.check_files()
    assert folder.read(tmp_path, train_share=0.34)["train"].class_names == ["apple"]


def test_folder_with_train_and_test(tmp_path):
    touch(tmp_path, ["train/b/1.jpg", "test/a/1.jpg", "test/b/2.jpg"])
    splits = folder.read(tmp_path)
    assert splits["train"].labels.tolist() == [2] and splits["test"].labels.tolist() == [1, 2]
    assert splits["test"].paths == ["test/a/1.jpg", "test/b/2.jpg"]


def test_folder_errors(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        folder.read(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no class folders"):
        folder.read(tmp_path)
    touch(tmp_path, ["apple/1.jpg"])
    with pytest.raises(DatasetError, match=r"1 class folder\(s\)"):
        folder.read(tmp_path)
    (tmp_path / "pear").mkdir()
    with pytest.raises(DatasetError, match="pear: a class folder without pictures"):
        folder.read(tmp_path)
    touch(tmp_path, ["loose.jpg", "pear/1.jpg"])
    with pytest.raises(DatasetError, match=r"1 picture\(s\) outside any class folder: loose.jpg"):
        folder.read(tmp_path)


@pytest.mark.parametrize("separator", [",", " ", "\t"])
def test_plain_list(tmp_path, separator):
    (tmp_path / "train.txt").write_text(f"images/a b.jpg{separator}0\n\nimages/c.jpg{separator}7\n")
    split = custom.read_list(tmp_path / "train.txt")
    assert split.paths == ["images/a b.jpg", "images/c.jpg"] and split.labels.tolist() == [0, 7]
    assert split.root == tmp_path and split.name == "train"


def test_plain_list_errors(tmp_path):
    for text, message in [("a.jpg\n", ":1: expected"), ("a.jpg x\n", ":1: label must be"), ("\n", "no images")]:
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(DatasetError, match=message):
            custom.read_list(tmp_path / "list.txt")
    with pytest.raises(DatasetError, match="file not found"):
        custom.read_list(tmp_path / "none.txt")
    (tmp_path / "list.txt").write_bytes(b"a\xff.jpg 1")
    with pytest.raises(DatasetError, match="byte 1: not UTF-8"):
        custom.read_list(tmp_path / "list.txt")


def test_csv(tmp_path):
    file = tmp_path / "birds.csv"
    file.write_text(
        "path,label,split,camera,x,y,width,height\n"
        '"a,1.jpg",wren,train,1,1,2,30,40\nb.jpg,owl,test,2,0,0,5,5\nc.jpg,wren,train,3,1,1,1,1.5\n'
    )
    splits = custom.read_csv(file)
    assert splits["train"].paths == ["a,1.jpg", "c.jpg"] and splits["train"].labels.tolist() == [2, 2]
    assert splits["train"].class_names == ["wren"] and splits["test"].class_names == ["owl"]
    assert splits["train"].cameras.tolist() == [1, 3] and np.array_equal(splits["train"].boxes[1], [1, 1, 1, 1.5])
    file.write_text("path,label\na.jpg,10\nb.jpg,9\n")
    split = custom.read_csv(file)["all"]
    assert split.labels.tolist() == [10, 9] and split.class_names is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("path,label\n", "a header but no images"),
        ("path,class\na,1\n", ":1: columns are path, class; .*missing label"),
        ("path,label,x\na,1,2\n", "missing y, width, height"),
        ("path,label\na.jpg\n", ":2: 2 fields expected"),
        ("path,label\na.jpg,1,2\n", ":2: 2 fields expected"),
        ("path,label\na.jpg,\n", ":2: path and label must not be empty"),
        ("path,label,camera\na.jpg,1,front\n", ":2: camera must be a whole number, got 'front'"),
        ("path,label,x,y,width,height\na.jpg,1,1,1,nan,1\n", ":2: width must be a number, got 'nan'"),
    ],
)
def test_csv_errors(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        custom.read_csv(tmp_path / "t.csv")
