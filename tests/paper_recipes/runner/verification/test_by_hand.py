"""Forgeries by hand: of an edited run the first false statement is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from helpers.verifying import edit, named
from PIL import Image


def test_an_edited_recall(run):
    """R@1 of 99.9 beside its true hits: named by line, metric and count."""

    def better(row):
        row["metrics"]["fc"]["R@1"] = 99.9
        return row

    edit(run / "evaluations.jsonl", 7, better)
    said = named(run, quick=True)
    assert (
        said.startswith("evaluations: evaluations.jsonl: line 7: fc R@1 is 99.9, its ") and "hits of 12 queries" in said
    )


def test_an_edited_loss(run):
    def lower(row):
        row["losses"]["loss"] *= 0.5
        return row

    edit(run / "steps.jsonl", 4, lower)
    assert named(run, quick=True) == "manifest: steps.jsonl: line 4 is not as it was written"


def test_a_flipped_weight_bit(run):
    path = run / "checkpoints" / "iteration_000004.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert named(run, quick=True).startswith(
        "manifest: checkpoints/iteration_000004.safetensors is not as it was written"
    )


def test_another_learning_rate(run):
    def faster(row):
        row["lr"] *= 2
        return row

    for line in range(1, 7):
        edit(run / "steps.jsonl", line, faster)
    assert named(run, quick=True) == (
        "learning rate: steps.jsonl: iteration 1 has the learning rate 0.02, the recipe's is 0.01"
    )


def test_a_deleted_line(run):
    edit(run / "steps.jsonl", 3, lambda row: None)
    assert named(run, quick=True) == (
        "steps: steps.jsonl: line 3 is of iteration 4: a line is missing, or one too many"
    )


def test_deleted_last_lines(run):
    edit(run / "evaluations.jsonl", 7, lambda row: None)
    assert "evaluations at [0, 1, 2, 3, 4, 5], the plan has them at [0, 1, 2, 3, 4, 5, 6]" in named(run, quick=True)


def test_a_swapped_picture(honest, run, tmp_path):
    """A test picture replaced by another one of its class after the run."""
    data = Path(shutil.copytree(honest / "data", tmp_path / "data"))
    assert named(run, data=data) is None
    shutil.copy(data / "class_5" / "1.png", data / "class_5" / "2.png")
    said = named(run, data=data)
    assert said.startswith(f"data: {data}: class_5/2.png has changed: its sha256 is ")


def test_a_grey_pixel(honest, run, tmp_path):
    data = Path(shutil.copytree(honest / "data", tmp_path / "data"))
    pixels = np.array(Image.open(data / "class_1" / "0.png"))
    pixels[3, 3] = 128
    Image.fromarray(pixels).save(data / "class_1" / "0.png")
    assert "class_1/0.png has changed" in named(run, data=data)


def test_a_checkpoint_of_another_seed(honest, run):
    name = "checkpoints/iteration_000005.safetensors"
    shutil.copy(honest / "other_seed" / name, run / name)
    assert named(run, quick=True) == f"checkpoints: {name}: its seed is 7, the run's is 123"


def test_a_missing_file_and_a_missing_manifest(run):
    (run / "neighbours.json").unlink()
    assert named(run, quick=True) == "manifest: neighbours.json is missing"
    (run / "manifest.json").unlink()
    assert named(run, quick=True) == "manifest: manifest.json is missing"
