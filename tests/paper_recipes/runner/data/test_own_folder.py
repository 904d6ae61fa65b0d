"""`--data my_folder`: a person's own pictures, and what is not to be taken for them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from helpers.dataset_makers import make_cub, make_inshop, make_sop
from PIL import Image

from paper_recipes import registry
from paper_recipes.runner import run as runner
from paper_recipes.runner.data import run_data
from paper_recipes.runner.data import scale as scales
from paper_recipes.runner.data.run_data import DataError
from paper_recipes.runner.evidence.row import unverified
from paper_recipes.runner.run_files import RunError
from ports.datasets import DatasetError

FRUIT = ("apple", "banana", "cherry", "date", "elder", "fig")


def make_pictures(root, names=FRUIT, count=4):
    """Stripes, a frequency per class: nothing but folders of pictures, in three formats and sizes."""
    for number, name in enumerate(names, 2):
        (root / name).mkdir(parents=True)
        for i in range(count):
            rng = np.random.default_rng([number, i])
            stripes = 120 + 90 * np.sin(np.arange(90 + 5 * i) * number / 7)[None, :, None]
            pixels = np.clip(stripes + rng.normal(0, 20, (70, 90 + 5 * i, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.{('jpg', 'png', 'webp')[i % 3]}")
    return root


@pytest.fixture
def mine(tmp_path):
    return make_pictures(tmp_path / "my_folder")


def test_half_of_the_classes_train(mine):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):  # what file managers leave
        (mine / name).write_text("")
    data = run_data.open_folder(registry.get("rll-sop"), mine)
    assert data.own and data.gallery is None
    assert sorted({path.split("/")[0] for path in data.train.paths}) == ["apple", "banana", "cherry"]
    assert sorted({path.split("/")[0] for path in data.test.paths}) == ["date", "elder", "fig"]
    assert data.description["class_names"] == {"4": "date", "5": "elder", "6": "fig"}
    assert data.description["name"] == "own folder my_folder"
    for split in (data.train, data.test):
        split.check_files()


def test_train_and_test_are_the_users_own_division(tmp_path):
    make_pictures(tmp_path / "my" / "train", FRUIT[:4])
    make_pictures(tmp_path / "my" / "test", FRUIT[4:])
    data = run_data.open_folder(registry.get("ms-cub"), tmp_path / "my")
    assert (data.train.num_classes, data.test.num_classes) == (4, 2)


def test_query_and_gallery_are_made_where_the_protocol_has_them(mine):
    data = run_data.open_folder(registry.get("ms-inshop"), mine)
    assert len(data.test) == len(data.gallery) == 6
    assert not set(data.test.paths) & set(data.gallery.paths)


@pytest.mark.parametrize("name", ["osm-mars", "rll-tpami-market1501", "osm-cub-bbox"])
def test_what_a_plain_folder_cannot_give_is_said(name, mine):
    with pytest.raises(DataError, match=f"{name} needs cameras, tracklets or boxes, which a plain folder has not"):
        run_data.open_folder(registry.get(name), mine)


@pytest.mark.parametrize("name", ["rll-sop", "ms-sop", "cls-sop", "rll-tpami-sop", "xbm-sop"])
def test_an_official_folder_without_its_lists_is_not_taken_for_ones_own(name, tmp_path):
    """Twelve folders of SOP would make six training 'classes' of unrelated products."""
    make_sop(tmp_path / "SOP")
    for missing in ("Ebay_train.txt", "Ebay_test.txt"):
        (tmp_path / "SOP" / missing).unlink()
    with pytest.raises(
        DataError, match=r"Ebay_train.txt, Ebay_test.txt not found there .*'bicycle_final'.*official SOP"
    ):
        run_data.open_folder(registry.get(name), tmp_path / "SOP")


def test_the_mend_that_the_message_names(tmp_path):
    """The same class folders under train/ and test/ are the user's decision."""
    make_pictures(tmp_path / "mine" / "train", ("bicycle_final", "chair_final"))
    make_pictures(tmp_path / "mine" / "test", ("sofa_final", "lamp_final"))
    assert run_data.open_folder(registry.get("rll-sop"), tmp_path / "mine").own


def test_other_official_folders_without_lists(tmp_path):
    make_cub(tmp_path / "CUB")
    for name in ("images.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt"):
        (tmp_path / "CUB" / name).unlink()
    with pytest.raises(DataError, match=r"images.txt, .* not found there .*'images'"):
        run_data.open_folder(registry.get("ms-cub"), tmp_path / "CUB")
    with pytest.raises(DataError, match=r"'001.Black_footed_Albatross'.*official CUB"):  # one folder too deep
        run_data.open_folder(registry.get("ms-cub"), tmp_path / "CUB" / "images")
    make_inshop(tmp_path / "Inshop")
    (tmp_path / "Inshop" / "list_eval_partition.txt").unlink()
    with pytest.raises(DataError, match=r"list_eval_partition.txt not found there .*'img'"):
        run_data.open_folder(registry.get("ms-inshop"), tmp_path / "Inshop")
    # another data set's class folders are pictures like any other
    assert run_data.open_folder(registry.get("ms-sop"), tmp_path / "CUB" / "images").own


def test_an_official_folder_that_is_not_whole_is_not_taken_for_ones_own(tmp_path):
    """Two data sets side by side, one damaged: not two classes of pictures."""
    make_sop(tmp_path / "data" / "SOP")
    make_pictures(tmp_path / "data" / "other", FRUIT[:1])
    (tmp_path / "data" / "SOP" / "chair_final" / "9_0.JPG").unlink()
    with pytest.raises(DatasetError, match="instead of 59,551"):
        run_data.open_folder(registry.get("rll-sop"), tmp_path / "data")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "empty").mkdir(), "empty: a class folder without pictures"),
        (lambda root: [(root / name).rename(root.parent / name) for name in FRUIT[1:]], "1 class folder"),
    ],
)
def test_a_folder_of_neither_kind(mine, spoil, message):
    spoil(mine)
    with pytest.raises(DatasetError, match=message):
        run_data.open_folder(registry.get("rll-sop"), mine)


def test_a_loose_file_makes_it_no_own_folder(mine):
    (mine / "readme.txt").write_text("what these are")
    words = r"not Stanford Online Products: Ebay_train.txt, .* class folders alone, but readme.txt lies there"
    with pytest.raises(DataError, match=words):
        run_data.open_folder(registry.get("rll-sop"), mine)
    with pytest.raises(RunError, match=r"my_folder: not the official SOP, .* but readme.txt lies there"):
        runner.run(registry.get("rll-sop"), runner.Options(data=mine))


def test_the_scale_of_an_own_run(mine):
    data = run_data.open_folder(registry.get("rll-sop"), mine)
    scale = scales.own(registry.get("rll-sop"), data.train, 10)
    assert scale.sampler.classes_per_batch == 3 and scale.sampler.images_per_class == 3  # no more than there are
    assert scale.iterations == 10 and {0, 10} <= scale.evaluations and 10 in scale.snapshots
    osm = registry.get("osm-cub")
    few = dataclasses.replace(osm, caffe=dataclasses.replace(osm.caffe, classes=2))
    with pytest.raises(ValueError, match="classifiers of 2 classes"):
        scales.own(few, data.train, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rll-sop", "ms-cub", "osm-cub", "cls-inshop"])
def test_an_own_run_from_start_to_report(name, mine, tmp_path, monkeypatch, capsys):
    """One step of a small batch by the real networks; the chain of evidence is tested elsewhere."""
    monkeypatch.setattr(runner, "chain", lambda recipe, record: [unverified("all", "-", "left out").as_cells()])
    recipe = registry.get(f"{name}+sampler.classes_per_batch=2+sampler.images_per_class=2")
    out = tmp_path / "run"
    assert runner.run(recipe, runner.Options(data=mine, out=out, iterations=1, workers=0)) == 0
    record = json.loads((out / "run.json").read_text())
    assert record["form"] == "own" and record["status"] == "finished" and record["verdict"] is None
    assert record["data"]["name"] == "own folder my_folder" and record["data"]["train"]["classes"] == 3
    report = (out / "report.md").read_text()
    assert "own folder my_folder" in report and "Letters form" not in report
    printed = capsys.readouterr().out
    assert "OWN pictures" in printed and "reproduced" not in printed
    for picture in ("losses.png", "recall.png", "retrieval.png"):
        assert (out / picture).stat().st_size > 5000
