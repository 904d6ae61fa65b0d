"""A user's own records: refused when they could not be reproduced, readable only when whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import golden
from golden.records import BATTERY, RecordError, battery, find_record, load_record


def test_the_battery_is_seeded():
    first, second, other = battery(), battery(), battery(1)
    assert tuple(first) == BATTERY
    for name, (rows, labels) in first.items():
        assert rows.dtype == np.float32 and labels.dtype == np.int64 and len(rows) == len(labels)
        np.testing.assert_array_equal(rows, second[name][0])
        assert not np.array_equal(rows, other[name][0])
    # A regression check of our own: records of users depend on these very numbers.
    assert np.isclose(first["random_4x3_d8"][0][0, 0], -0.312749, atol=1e-6)


def test_tf32_is_refused(samples, tmp_path, tf32):
    tf32(True)
    with pytest.raises(RecordError, match="TF32"):
        golden.record(samples.Right(), "mine", tmp_path)
    assert not list(tmp_path.iterdir())


def test_reduced_matmul_precision_is_refused(samples, tmp_path):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(RecordError, match="TF32"):
            golden.record(samples.Right(), "mine", tmp_path)
    finally:
        torch.set_float32_matmul_precision(before)


def test_deterministic_mode_is_on_and_restored(samples, tmp_path):
    seen = []

    def loss(embeddings, labels):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return samples.Right()(embeddings, labels)

    golden.record(loss, "mine", tmp_path)
    assert all(seen) and not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_deterministic_form_is_refused(tmp_path):
    def loss(embeddings, labels):
        if torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("x does not have a deterministic implementation")
        return embeddings.sum()

    with pytest.raises(RecordError, match="deterministic implementation"):
        golden.record(loss, "mine", tmp_path)
    assert not list(tmp_path.iterdir()) and not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", ["", "../mine", "a/b", ".hidden"])
def test_names_are_plain(samples, tmp_path, name):
    with pytest.raises(RecordError, match="plain file name"):
        golden.record(samples.Right(), name, tmp_path)


def test_a_loss_without_numbers_is_refused(samples, tmp_path):
    with pytest.raises(RecordError, match="loss is nan"):
        golden.record(samples.not_a_number, "mine", tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "format", "no arrays", "not json", "kind"])
def test_a_damaged_record_names_its_file(samples, tmp_path, damage):
    path = golden.record(samples.Right(), "mine", tmp_path)
    facts = json.loads(path.read_text())
    if damage == "truncated":
        path.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes()[:500])
    elif damage == "no arrays":
        path.with_suffix(".npz").unlink()
    elif damage == "not json":
        path.write_text("{")
    else:
        facts[damage] = 99 if damage == "format" else "authors_program"
        path.write_text(json.dumps(facts))
    with pytest.raises((RecordError, FileNotFoundError), match="mine"):
        load_record(path)


def test_a_folder_with_two_records_needs_a_name(samples, tmp_path):
    for name in ("a", "b"):
        golden.record(samples.Right(), name, tmp_path)
    with pytest.raises(FileNotFoundError, match="found a, b"):
        find_record(tmp_path)
    assert golden.check(samples.Right(), tmp_path / "b", properties=False).passed
    with pytest.raises(FileNotFoundError):
        find_record(tmp_path / "c")


def test_pickles_are_not_read(tmp_path, samples):
    path = golden.record(samples.Right(), "mine", tmp_path)
    np.savez(path.with_suffix(".npz"), **{"random_4x3_d8:embeddings": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(RecordError):
        load_record(path)
