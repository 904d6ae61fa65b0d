"""What the start was trained on: no letter, and nothing that looks like one."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from paper_recipes.letters_start import pictures, symbols
from ports.datasets.glyph_letters import FACES, load_letters


def test_no_class_is_a_letter():
    classes = symbols.load_symbols()
    assert len(classes) == len(set(classes)) == 1446
    assert not set(classes) & set(load_letters())
    assert not [c for c in classes if unicodedata.category(chr(c)).startswith("L")]


@pytest.mark.slow
def test_the_rule_still_gives_the_list():
    assert symbols.select_symbols() == symbols.load_symbols()


def test_held_out_faces_are_in_no_training_picture():
    training, held_out = symbols.pictures(held_out=False), symbols.pictures(held_out=True)
    assert {face for _, _, face in held_out} == set(symbols.HELD_OUT) <= set(FACES)
    assert not {face for _, _, face in training} & set(symbols.HELD_OUT)
    assert (len(training), len(held_out)) == (13577, 1350)
    assert {label for label, _, _ in training} == set(range(1446))  # each class can be learnt


def test_pictures_depend_on_their_seed_alone():
    chosen = [(0, ord("="), "DejaVuSans"), (1, ord("√"), "STIXGeneral")]
    images, labels = pictures.batch([1, 2], chosen, 64, {})
    again, _ = pictures.batch([1, 2], chosen, 64, {})
    other, _ = pictures.batch([1, 3], chosen, 64, {})
    assert images.shape == (2, 64, 64) and images.dtype == np.uint8 and labels.tolist() == [0, 1]
    assert np.array_equal(images, again) and not np.array_equal(images, other)


def test_a_test_picture_is_the_letters_own_rule():
    """One page for each code point and face, its border cut, a square: the paper reaches to 15 pixels from the edge."""
    image = pictures.test_picture(ord("≡"), "DejaVuSans", 96)
    assert image.shape == (96, 96) and image.min() < 120 and image.max() == 255
