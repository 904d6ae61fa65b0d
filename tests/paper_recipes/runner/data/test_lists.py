"""`--data` as lists: .mat, train.txt and test.txt, .csv; what each gives, and what is said of bad ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import caffe_compat
from paper_recipes import registry
from paper_recipes.runner import cli
from paper_recipes.runner import run as runner
from paper_recipes.runner.data import lists, run_data
from paper_recipes.runner.run_files import RunError
from ports.datasets import DatasetError
from ports.datasets.split import Split


@pytest.fixture
def images(tmp_path):
    """Four classes of three pictures below images/, and nothing else there."""
    root = tmp_path / "images"
    for label in range(4):
        for i in range(3):
            (root / str(label)).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([label, i]).integers(0, 256, (64, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / str(label) / f"{i} a.png")
    return root


def rows(*labels):
    return [(f"{label}/{i} a.png", label) for label in labels for i in range(3)]


def split(name, root, *labels, **more):
    paths, numbers = zip(*rows(*labels))
    return Split(list(paths), np.array(numbers), name, root, **more)


def write_txt(folder, separator=","):
    folder.mkdir(exist_ok=True)
    for part, labels in (("train", (0, 1)), ("test", (2, 3))):
        text = "".join(f"{path}{separator}{label}\n" for path, label in rows(*labels))
        (folder / f"{part}.txt").write_text(text)
    return folder


def write_mat(folder, version="7", **more):
    folder.mkdir(exist_ok=True)
    for part, labels in (("train", (0, 1)), ("test", (2, 3))):
        whole = split(f"x/{part}", "/home/authors/images", *labels, **more)
        caffe_compat.save_split(whole, folder / f"{part}.mat", version=version)
    return folder


def write_csv(file):
    parts = [("train", (0, 1)), ("test", (2, 3))]
    lines = [f"{path},{label},{part}" for part, labels in parts for path, label in rows(*labels)]
    file.write_text("\n".join(["path,label,split", *lines]) + "\n")
    return file


FORMS = {
    "txt": lambda folder: write_txt(folder / "lists"),
    "txt with tabs": lambda folder: write_txt(folder / "lists", "\t"),
    "mat": lambda folder: write_mat(folder / "lists"),
    "mat 7.3": lambda folder: write_mat(folder / "lists", "7.3"),
    "one mat names the others": lambda folder: write_mat(folder / "lists") / "train.mat",
    "csv": lambda folder: write_csv(folder / "birds.csv"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_data(form, images, tmp_path):
    data = run_data.open_folder(registry.get("ms-cub"), FORMS[form](tmp_path), images)
    assert data.own and data.gallery is None
    for found, labels in ((data.train, (0, 1)), (data.test, (2, 3))):
        assert list(zip(found.paths, found.labels.tolist())) == rows(*labels)
        found.check_files()
    assert data.description["root"] == str(images.resolve()) and data.description["train"]["images"] == 6


@pytest.mark.parametrize("form", ["txt", "mat", "csv"])
def test_lists_beside_their_images_need_no_image_root(form, images):
    """As the split scripts of research-ms-loss leave them, and as `prepare --mat` does."""
    place = {"txt": write_txt, "mat": write_mat, "csv": lambda folder: write_csv(folder / "birds.csv").parent}[form]
    data = run_data.open_folder(registry.get("ms-cub"), place(images))
    assert data.train.paths == [path for path, _ in rows(0, 1)] and len(data.test) == 6
    assert run_data.may_be_own(images)  # so that no weights are asked for


def test_what_prepare_wrote_beside_an_official_layout(images, tmp_path):
    """Paths are those of the machine that wrote them; the pictures have moved since."""
    for part, labels in (("train", (0, 1)), ("test", (2, 3))):
        caffe_compat.save_split(split(f"sop/{part}", "/mnt/x/SOP", *labels), images / f"{part}.mat")
    data = run_data.open_folder(registry.get("rll-sop"), images / "train.mat")
    assert data.test.paths == [path for path, _ in rows(2, 3)]


def test_query_and_gallery(images, tmp_path):
    folder = tmp_path / "lists"
    write_txt(folder)
    (folder / "test.txt").rename(folder / "query.txt")
    (folder / "gallery.txt").write_text("2/1 a.png,2\n3/1 a.png,3\n")
    data = run_data.open_folder(registry.get("ms-inshop"), folder, images)
    assert len(data.test) == 6 and data.gallery.paths == ["2/1 a.png", "3/1 a.png"]
    with pytest.raises(DatasetError, match="ms-cub searches one test list within itself, there is gallery and query"):
        run_data.open_folder(registry.get("ms-cub"), folder, images)
    (folder / "gallery.txt").unlink()
    with pytest.raises(DatasetError, match="there is query and train, but a test list, or query and gallery"):
        run_data.open_folder(registry.get("ms-inshop"), folder, images)


def test_a_test_list_of_one_image_has_nothing_to_find(images, tmp_path):
    folder = write_txt(tmp_path / "lists")
    (folder / "test.txt").write_text("2/1 a.png,2\n")
    with pytest.raises(DatasetError, match="lists: the test list has one image, which has no other to be found"):
        run_data.open_folder(registry.get("ms-cub"), folder, images)


def test_one_test_list_is_divided_where_the_protocol_has_a_gallery(images, tmp_path):
    data = run_data.open_folder(registry.get("ms-inshop"), write_txt(tmp_path / "lists"), images)
    assert len(data.test) == 4 and len(data.gallery) == 2


def test_boxes(images, tmp_path):
    recipe = registry.get("osm-cub-bbox")
    with pytest.raises(DatasetError, match="osm-cub-bbox needs boxes, which the train list has not"):
        run_data.open_folder(recipe, write_mat(tmp_path / "plain"), images)
    boxes = np.tile([2.0, 3, 40, 50], (6, 1))
    data = run_data.open_folder(recipe, write_mat(tmp_path / "boxed", boxes=boxes), images)
    assert np.array_equal(data.train.boxes, boxes) and np.array_equal(data.test.boxes, boxes)
    assert run_data.open_folder(registry.get("osm-cub"), tmp_path / "boxed", images).train.boxes is None
    file = write_csv(tmp_path / "boxed.csv")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0] + ",x,y,width,height", *(f"{line},2,3,40,50" for line in lines[1:])]))
    assert np.array_equal(run_data.open_folder(recipe, file, images).train.boxes, boxes)


def tracked(name, root, *labels):
    """The first picture of a class under camera 1, the others under camera 2: two tracklets."""
    plain = split(name, root, *labels)
    camera = np.tile([1, 2, 2], len(labels))
    return dataclasses.replace(
        plain, cameras=camera, tracks=np.unique(plain.labels * 2 + camera, return_inverse=True)[1]
    )


def test_tracklets_as_prepare_writes_them(images, tmp_path):
    recipe = registry.get("osm-mars")
    folder = tmp_path / "lists"
    folder.mkdir()
    gallery = tracked("mars/gallery", "/x/MARS", 2, 3)
    query = gallery.subset(gallery.cameras == 1, "mars/query")
    for part in (tracked("mars/train", "/x/MARS", 0, 1), query, gallery):
        caffe_compat.save_split(part, folder / f"{part.name.rpartition('/')[2]}.mat")
    data = run_data.open_folder(recipe, folder, images)
    assert data.train.tracks.tolist() == [0, 1, 1, 2, 3, 3] and data.train.cameras.tolist() == [1, 2, 2] * 2
    assert (len(data.test), len(data.gallery)) == (2, 6)
    with pytest.raises(DatasetError, match="osm-mars needs tracklets, which the train list has not"):
        caffe_compat.save_split(split("mars/train", "/x/MARS", 0, 1), folder / "train.mat")
        run_data.open_folder(recipe, folder, images)


def test_tracklets_of_the_release(images, tmp_path):
    """One file with train_tracklets, test_tracklets and query_IDX, which counts the gallery's tracklets from 1."""
    import scipy.io

    variables = {}
    for part, labels in (("train", (0, 1)), ("test", (2, 3))):
        caffe_compat.save_split(tracked(f"mars/{part}", "/x", *labels), tmp_path / "part.mat")
        variables |= {k: v for k, v in scipy.io.loadmat(tmp_path / "part.mat").items() if not k.startswith("__")}
    scipy.io.savemat(tmp_path / "mars.mat", {**variables, "query_IDX": np.array([[1, 3]])})
    data = run_data.open_folder(registry.get("osm-mars"), tmp_path / "mars.mat", images)
    assert data.test.paths == ["2/0 a.png", "3/0 a.png"] and len(data.gallery) == 6


def test_multiple_queries_have_a_list(images, tmp_path):
    recipe = registry.get("rll-tpami-market1501")
    folder = tmp_path / "lists"
    folder.mkdir()
    for part in ("train", "query", "gallery"):
        whole = dataclasses.replace(split(f"market1501/{part}", "/x", 2, 3), cameras=np.tile([1, 2, 2], 2))
        caffe_compat.save_split(whole, folder / f"{part}.mat")
    with pytest.raises(DatasetError, match="no multi_query list, which rll-tpami-market1501 scores too"):
        run_data.open_folder(recipe, folder, images)
    caffe_compat.save_split(dataclasses.replace(whole, name="market1501/multi_query"), folder / "multi_query.mat")
    data = run_data.open_folder(recipe, folder, images)
    assert len(data.multi_query) == 6 and data.multi_query is not data.test


def test_an_evaluation_needs_no_training_list(images, tmp_path):
    folder = write_mat(tmp_path / "lists")
    (folder / "train.mat").unlink()
    with pytest.raises(DatasetError, match="there is test, but no train list"):
        run_data.open_folder(registry.get("rll-sop"), folder, images)
    data = run_data.open_folder(registry.get("rll-sop"), folder, images, training=False)
    assert len(data.train) == 0 and len(data.test) == 6


# -- bad input: file and line, and what is wrong with it


def replaced(number, line):
    def spoil(file):
        lines = file.read_text().splitlines()
        lines[number - 1] = line
        file.write_text("\n".join(lines))

    return spoil


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0/9 a.png,0", r"train.txt:2: 1 of 6 images are missing: .*0/9 a.png"),
        ("0/1 a.png 0", r"train.txt:2: white space before the label, the lines above have a comma: '0/1 a.png 0'"),
        ("0/1 a.png,-1", r"train.txt:2: label -1 is below 0"),
        ("0/1 a.png,99999999999999999999", r"train.txt:2: label 9+ is beyond 64 bits"),
        ("0/1 a.png,7", r"train.txt:2: label 7, but the list has 3 classes: their labels are 0 to 2"),
        ("0/1 a.png,zero", r"train.txt:2: label must be a whole number, got 'zero'"),
        ("../secret.png,0", r"train.txt:2: 1 of 6 image paths lead out of .*'../secret.png'"),
    ],
)
def test_bad_lines_of_a_plain_list(line, words, images, tmp_path):
    folder = write_txt(tmp_path / "lists")
    replaced(2, line)(folder / "train.txt")
    with pytest.raises(DatasetError, match=words):
        run_data.open_folder(registry.get("ms-cub"), folder, images)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0/9 a.png,0,train", r"birds.csv:3: 1 of 6 images are missing: .*0/9 a.png"),
        ("0/1 a.png 0 train", r"birds.csv:3: 3 fields expected"),
        ("0/1 a.png,-2,train", r"birds.csv:3: train label -2 is below 0"),
        ("0/1 a.png,0,learn", r"birds.csv:3: split 'learn' is none of train, test, query, gallery, multi_query"),
        ("/etc/passwd,0,train", r"birds.csv:3: 1 of 6 image paths lead out of .*'/etc/passwd'"),
    ],
)
def test_bad_lines_of_a_table(line, words, images, tmp_path):
    file = write_csv(tmp_path / "birds.csv")
    replaced(3, line)(file)
    with pytest.raises(DatasetError, match=words):
        run_data.open_folder(registry.get("ms-cub"), file, images)


def test_a_table_without_splits(images, tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n0/0 a.png,0\n")
    with pytest.raises(DatasetError, match=r"t.csv:1: no column split"):
        run_data.open_folder(registry.get("ms-cub"), tmp_path / "t.csv", images)


def test_bad_rows_of_a_mat(images, tmp_path):
    folder = write_mat(tmp_path / "lists")
    (images / "1" / "1 a.png").unlink()
    with pytest.raises(DatasetError, match=r"train.mat: train, row 5: 1 of 6 images are missing: .*1/1 a.png"):
        run_data.open_folder(registry.get("ms-cub"), folder, images)
    below = dataclasses.replace(split("x/train", "/x", 0, 2), labels=np.array([0, 0, -1, 2, 2, 2]))
    caffe_compat.save_split(below, folder / "train.mat")
    with pytest.raises(DatasetError, match=r"train.mat: train, item 3: label -1 is below 0"):
        run_data.open_folder(registry.get("ms-cub"), folder, images)
    (folder / "train.mat").write_bytes(b"no MATLAB at all, but long enough" * 10)
    with pytest.raises(ValueError, match=r"train.mat: "):
        run_data.open_folder(registry.get("ms-cub"), folder, images)


def test_forms_are_not_mixed(images, tmp_path):
    folder = write_mat(write_txt(tmp_path / "lists"))
    with pytest.raises(DatasetError, match=r"lists of several forms lie there \(test.mat, test.txt\)"):
        lists.read(folder, images)
    for name in ("train.mat", "test.mat", "train.txt", "test.txt"):
        (folder / name).unlink()
    write_csv(folder / "a.csv")
    write_csv(folder / "b.csv")
    with pytest.raises(DatasetError, match=r"a.csv and b.csv lie there"):
        lists.read(folder, images)
    mat = write_mat(tmp_path / "two")
    (mat / "other.mat").write_bytes((mat / "test.mat").read_bytes())
    with pytest.raises(DatasetError, match=r"test.mat: a second test list; other.mat has one already"):
        lists.read(mat, images)


def test_a_file_that_is_no_list(images, tmp_path):
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    (tmp_path / "train.txt").write_text("0/0 a.png,0\n")
    for name, words in (
        ("notes.pdf", "not a list that is known here; lists are a .mat list, a folder with train.txt"),
        ("train.txt", "one .txt is not the whole data: name the folder"),
    ):
        with pytest.raises(DatasetError, match=words):
            run_data.open_folder(registry.get("ms-cub"), tmp_path / name)
    with pytest.raises(DatasetError, match="images: no list lies there"):
        run_data.open_folder(registry.get("ms-cub"), images, images)
    with pytest.raises(DatasetError, match=r"--image-root .*nowhere: no such folder"):
        run_data.open_folder(registry.get("ms-cub"), write_txt(tmp_path / "lists"), tmp_path / "nowhere")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "ms-cub", "--out", "out"],
        ["evaluate", "ms-cub", "--out", "out", "--model", "m.onnx"],
    ],
)
def test_the_commands_leave_nothing_behind(arguments, images, tmp_path, monkeypatch):
    """One line, no run directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"")
    folder = write_txt(tmp_path / "lists")
    replaced(4, "1/0 a.png 1")(folder / "train.txt")
    result = CliRunner().invoke(cli.cli, [*arguments, "--data", str(folder), "--image-root", str(images)])
    assert isinstance(result.exception, DatasetError) and "train.txt:4: white space" in str(result.exception)
    assert "\n" not in str(result.exception) and not (tmp_path / "out").exists()


def test_an_image_root_without_lists():
    with pytest.raises(RunError, match="--image-root says where the images of lists are"):
        runner.run(registry.get("ms-cub"), runner.Options(image_root="x"))
