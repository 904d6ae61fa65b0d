"""Checkpoints are whole or absent, and equal to the bit for equal states."""

from __future__ import annotations

import errno
import json

import pytest
import safetensors.torch
import torch

from paper_recipes.runner.engines import checkpoint
from ports.files import sha256


def example() -> checkpoint.Checkpoint:
    tensors = {"net/a": torch.arange(6.0).reshape(2, 3), "momentum/a": torch.zeros(2, 3, dtype=torch.float64)}
    return checkpoint.Checkpoint(tensors, {"iteration": 7, "sampler": {"drawn": 3}})


def flip(path):
    """One bit of the last tensor."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 16
    path.write_bytes(data)


def test_round_trip(tmp_path):
    path = checkpoint.path_of(tmp_path, 7)
    checkpoint.save(path, example())
    read = checkpoint.load(path)
    assert read.state == example().state
    for name, tensor in example().tensors.items():
        assert read.tensors[name].dtype == tensor.dtype and torch.equal(read.tensors[name], tensor)
    assert checkpoint.latest(tmp_path) == path


def test_equal_states_make_equal_bytes(tmp_path):
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, example())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    path = checkpoint.path_of(tmp_path, 7)
    checkpoint.save(path, example())
    before = path.read_bytes()

    def full(tensors, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match=r"cannot write .*iteration_000007.*No space left"):
        checkpoint.save(path, example())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 64])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "iteration_000001.safetensors"
    path.write_bytes(content)
    with pytest.raises(checkpoint.CheckpointError, match="iteration_000001"):
        checkpoint.load(path)


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = checkpoint.path_of(tmp_path, 7)
    checkpoint.save(path, example())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(checkpoint.CheckpointError, match="iteration_000007"):
        checkpoint.load(path)


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    """Of the whole file, the lengths, names and state in its head included: safetensors' own reader lets most of them pass."""
    path = checkpoint.path_of(tmp_path, 7)
    checkpoint.save(path, example())
    whole = path.read_bytes()
    passed = []
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ (1 << position % 8)]) + whole[position + 1 :])
        try:
            read = checkpoint.load(path)
        except checkpoint.CheckpointError:
            continue
        passed.append((position, read))
    # What passes means nothing: a blank that JSON may have or not, such as between two words or at the end.
    assert all(read.state == example().state for _, read in passed)
    assert all(torch.equal(read.tensors[n], t) for _, read in passed for n, t in example().tensors.items())
    assert len(passed) <= 2


def test_a_checkpoint_from_before_the_digest_loads(tmp_path):
    from safetensors.torch import save_file

    path = checkpoint.path_of(tmp_path, 7)
    save_file(example().tensors, str(path), metadata={"dml-ports checkpoint 1": json.dumps(example().state)})
    assert checkpoint.load(path).state == example().state


def test_the_newest_sound_one_is_taken_and_damaged_ones_are_put_aside(tmp_path):
    for iteration in (3, 6, 9):
        checkpoint.save(checkpoint.path_of(tmp_path, iteration), example())
    flip(checkpoint.path_of(tmp_path, 9))
    said = []
    assert checkpoint.latest_sound(tmp_path, said.append) == checkpoint.path_of(tmp_path, 6)
    (line,) = said
    assert "iteration_000009.safetensors: damaged" in line and line.endswith(
        "going on from iteration_000006.safetensors"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "damaged_iteration_000009.safetensors",
        "iteration_000003.safetensors",
        "iteration_000006.safetensors",
    ]
    assert checkpoint.latest_sound(tmp_path, said.append) == checkpoint.path_of(tmp_path, 6) and len(said) == 1


def test_no_sound_one_is_an_error_and_nothing_is_moved(tmp_path):
    path = checkpoint.path_of(tmp_path, 3)
    checkpoint.save(path, example())
    flip(path)
    with pytest.raises(checkpoint.CheckpointError, match="no sound checkpoint is left"):
        checkpoint.latest_sound(tmp_path, print)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_another_programs_safetensors_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, str(tmp_path / "x.safetensors"))
    with pytest.raises(checkpoint.CheckpointError, match="not a checkpoint of this program"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
