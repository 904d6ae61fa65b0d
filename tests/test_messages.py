"""Messages that once sent a user the wrong way: each is one line that quotes what is wrong and names the rule."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from helpers.golden_cli import golden
from PIL import Image

from caffe_compat.errors import CaffeFormatError
from caffe_compat.pth import read_pth
from paper_recipes import registry
from paper_recipes.derive import SettingError
from paper_recipes.runner import run as runner
from paper_recipes.runner.run_files import RunError


def pictures(root):
    for label in "ab":
        (root / label).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / label / "x.png")
    return root


def test_a_stray_file_beside_class_folders_is_named_and_no_weights_are_demanded(tmp_path):
    """Was: "starts from googlenet_bn.caffemodel: give its path with --weights", of a folder that needs none."""
    (pictures(tmp_path) / "README.md").write_text("mine")
    options = runner.Options(data=tmp_path, out=tmp_path / "out")
    with pytest.raises(RunError) as said:
        runner._check(registry.get("rll-sop"), options)
    assert "class folders alone, but README.md lies there" in str(said.value) and "--weights" not in str(said.value)


@pytest.mark.parametrize(("name", "crop"), [("rll-sop", 100), ("ms-cub", 120)])
def test_a_crop_that_the_network_cannot_take_is_refused_before_the_run(name, crop):
    """Was: torch's "Sizes of tensors must match except in dimension 1", after the letters were drawn."""
    with pytest.raises(SettingError, match=rf"images\.crop {crop}: .* cannot take it; it can take \d+ to \d+"):
        registry.derived(registry.get(name), (f"images.crop={crop}",))


@pytest.mark.parametrize("setting", ["margin", "=1", "", "margin+1"])
def test_a_setting_without_a_value(setting):
    """Was: a traceback, then "no recipe 'rll-sop+margin'"."""
    with pytest.raises(SettingError) as said:
        registry.derived(registry.get("rll-sop"), (setting,))
    assert str(said.value) == (
        f"--set {setting}: expected KEY=VALUE, such as iterations=100; `show rll-sop --keys` lists the keys"
    )


class Model:
    """An object of a program."""


def write(path, kind):
    if kind == "text":
        path.write_text("epoch 1")  # torch: KeyError 101
    elif kind == "empty":
        path.touch()
    elif kind == "object":
        torch.save({"model": Model()}, path)  # torch: two ways to load it unsafely, with escape codes
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}, protocol=4))  # torch: asks to file an issue, and warns
    else:
        torch.save({"w": torch.zeros(30)}, path)
        path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "not a PyTorch weights file: it begins with b'epoch 1'"),
        ("empty", "not a PyTorch weights file: it is empty"),
        ("object", "holds an object of a program, "),
        ("pickle", "a pickle, but not of tensors as torch.save writes them"),
        ("cut", "damaged or cut off: it has 300 bytes"),
    ],
)
def test_a_file_that_is_no_weights_says_what_it_is(tmp_path, kind, words):
    """Was: torch's own text."""
    write(tmp_path / "x.pth", kind)
    with pytest.raises(CaffeFormatError) as said:
        read_pth(tmp_path / "x.pth")
    text = str(said.value)
    assert text.startswith(f"{tmp_path}/x.pth: ") and words in text
    assert "\x1b" not in text and "\n" not in text and "weights_only" not in text
    if kind == "object":
        assert "test_messages.Model" in text and "state_dict()" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--case", "nope"), "error: ms has no case named 'nope'; its 23 cases are named like "),
        (("--case", "nope", "--dtype", "float32"), "error: ms has no case named 'nope'; its 23 cases"),
    ],
)
def test_a_case_that_a_set_has_not(arguments, words):
    """Was: "ms has no case for dtype float64 and cases ['nope']"."""
    done = golden("check", "ports.losses:MultiSimilarityLoss", "--against", "ms", *arguments)
    assert done.exit_code == 2 and done.output.startswith(words) and done.output.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("ports.losses:OnlineSoftMining", "has no 'OnlineSoftMining'; nearest: OnlineSoftMiningLoss"),
        ("mine.py:Lossy", "has no 'Lossy'; nearest: Loss"),
        ("mine.py:zzz", "has no 'zzz'; it has Loss\n"),
    ],
)
def test_a_name_that_a_module_has_not(tmp_path, monkeypatch, target, words):
    """Was: "it has annotations, import_module, TYPE_CHECKING, Any"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("from typing import Any\n\n\nclass Loss:\n    pass\n")
    assert words in golden("check", target).output


def test_a_loss_of_other_arguments_is_told_the_adapter(tmp_path, monkeypatch):
    """Was: "OSM.forward() takes 3 positional arguments but 4 were given", and nothing more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\nclass OSM(torch.nn.Module):\n    def forward(self, x, y):\n        return (x @ x.T).sum()\n\n\n"
        "def four(x, y, a, b):\n    return x.sum()\n"
    )
    said = golden("check", "mine.py:OSM", "--against", "osm").output
    assert "--adapter without-scores gives numbers to compare" in said
    said = " ".join(golden("check", "mine.py:four", "--against", "osm").output.split())
    assert (
        "calls the loss with (embeddings, labels, scores); --adapter NAME fits another signature: normalised," in said
    )
